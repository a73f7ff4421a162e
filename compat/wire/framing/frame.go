package framing

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/macula-mesh/macula-node/compat/wire"
)

// The frame's layout (docs/PROTOCOL.md, names and limits).
const (
	// Version is the only frame version there is.
	Version = 0x01
	// HeaderSize is the length of a frame's header in bytes.
	HeaderSize = 8
)

// What can be wrong with a frame, beside wire.ErrUnknownType. Compare with
// errors.Is: the errors that are returned say more, such as the offending value.
var (
	// ErrShortHeader: fewer than HeaderSize bytes.
	ErrShortHeader = errors.New("frame header is shorter than 8 bytes")
	// ErrVersion: the version byte is not Version.
	ErrVersion = errors.New("unsupported frame version")
	// ErrTruncated: the payload is shorter than its header says.
	ErrTruncated = errors.New("truncated frame")
	// ErrTooLarge: the payload is longer than wire.MaxPayload.
	ErrTooLarge = errors.New("payload too large")
	// ErrNoMemory: a Reader was refused the memory for a frame.
	ErrNoMemory = errors.New("no memory for a frame")
)

// Frame is one message as it travels. Payload is not yet known to be
// MessagePack.
type Frame struct {
	Type    wire.Type
	Payload []byte
}

// Bytes returns the frame as it travels, in memory of its own.
func (f Frame) Bytes() []byte {
	b := append(make([]byte, 0, HeaderSize+len(f.Payload)), Version, byte(f.Type), 0, 0, 0, 0, 0, 0)
	binary.BigEndian.PutUint32(b[4:], uint32(len(f.Payload)))
	return append(b, f.Payload...)
}

// header reads the first HeaderSize bytes of b, which must be there.
func header(b []byte) (t wire.Type, size int, err error) {
	if b[0] != Version {
		return 0, 0, fmt.Errorf("%w %d, want %d", ErrVersion, b[0], Version)
	}
	n := binary.BigEndian.Uint32(b[4:])
	if n > wire.MaxPayload {
		return 0, 0, fmt.Errorf("%w: %s of %d bytes, limit %d", ErrTooLarge, wire.Type(b[1]), n, wire.MaxPayload)
	}
	return wire.Type(b[1]), int(n), nil
}

// DecodeFrame cuts the first frame from b and returns it with the bytes that
// follow it. The frame shares b's memory. It checks in the reference's order:
// ErrShortHeader, ErrVersion (and ErrTooLarge), ErrTruncated, wire.ErrUnknownType.
func DecodeFrame(b []byte) (f Frame, rest []byte, err error) {
	if len(b) < HeaderSize {
		return Frame{}, b, fmt.Errorf("%w: got %d", ErrShortHeader, len(b))
	}
	t, size, err := header(b)
	if err != nil {
		return Frame{}, b, err
	}
	if have := len(b) - HeaderSize; have < size {
		return Frame{}, b, fmt.Errorf("%w: %s has %d of %d payload bytes", ErrTruncated, t, have, size)
	}
	if !t.Known() {
		return Frame{}, b, fmt.Errorf("%w: %s", wire.ErrUnknownType, t)
	}
	end := HeaderSize + size
	return Frame{Type: t, Payload: b[HeaderSize:end:end]}, b[end:], nil
}

// AppendFrame appends m as a whole frame to b. It fails with ErrTooLarge, and
// returns b as it was, where the payload would pass wire.MaxPayload.
func AppendFrame(b []byte, m wire.Message) ([]byte, error) {
	start := len(b)
	b = append(b, Version, byte(m.Type()), 0, 0, 0, 0, 0, 0)
	b = m.AppendPayload(b)
	size := len(b) - start - HeaderSize
	if size > wire.MaxPayload {
		return b[:start], fmt.Errorf("%w: %s of %d bytes, limit %d", ErrTooLarge, m.Type(), size, wire.MaxPayload)
	}
	binary.BigEndian.PutUint32(b[start+4:], uint32(size))
	return b, nil
}

// Decode reads the payload into the message of the frame's type, see wire.Decode.
func (f Frame) Decode() (wire.Message, error) { return wire.Decode(f.Type, f.Payload) }

// Check says whether a frame's payload is what every message is: one
// well-formed MessagePack map. It is for frames that are taken and not read.
func (f Frame) Check() error { return (&wire.Opaque{MessageType: f.Type}).Decode(f.Payload) }
