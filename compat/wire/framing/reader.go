package framing

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/macula-mesh/macula-node/compat/wire"
)

const (
	readBuffer   = 4 << 10  // what a quiet stream costs
	shrinkBuffer = 64 << 10 // a buffer that grew beyond this is not kept

	maxEmptyReads = 100 // reads in a row that bring neither bytes nor an error
)

var errClosed = fmt.Errorf("frame reader: %w", fs.ErrClosed)

// Memory accounts for a reader's buffer. The scopes of libp2p's resource
// manager have these methods.
type Memory interface {
	ReserveMemory(size int, priority uint8) error
	ReleaseMemory(size int)
}

// The priorities with which a stream's buffers are reserved, as in libp2p's
// resource manager: the first few KiB may use a limit to its end, what grows beyond
// them three quarters of it. So whoever has much does not keep others from having
// little.
const (
	MemoryFirst = 255
	MemoryMore  = 191
)

// ReaderOption sets a detail of a Reader.
type ReaderOption func(*Reader)

// WithMemory makes the reader ask m for what its buffer grows by. A refusal is
// returned from Next.
func WithMemory(m Memory) ReaderOption { return func(r *Reader) { r.memory = m } }

// BeforeRead has f called before each Read of the source, to set its deadline;
// midFrame says whether a part of a frame has already come.
func BeforeRead(f func(midFrame bool)) ReaderOption {
	return func(r *Reader) { r.beforeRead = f }
}

// Reader cuts frames from a byte stream. Its buffer grows with the bytes that
// arrive, never with what a header promises.
type Reader struct {
	src        io.Reader
	buf        []byte
	begin, end int // the bytes read and not yet given out
	memory     Memory
	reserved   int
	beforeRead func(midFrame bool)
	unframed   bool  // a relay_request may come, see WithRelayRequest
	skip       int64 // bytes that are still to come of a frame that was given up
	err        error // sticky: framing is lost for good
}

// NewReader returns a Reader of src.
func NewReader(src io.Reader, opts ...ReaderOption) *Reader {
	r := &Reader{src: src}
	for _, opt := range opts {
		opt(r)
	}
	return r
}

// Next returns the next frame; its payload is valid until the call after. The
// type may be unknown: that does not break framing.
//
// At the end it returns io.EOF between two frames and ErrTruncated within one.
// ErrVersion and ErrTooLarge are final. An error of the source is returned as
// it is and loses nothing: after a deadline Next may be called again, and after
// ErrNoMemory, ErrTooLarge too where Skip gave the frame up.
func (r *Reader) Next() (Frame, error) {
	if r.err != nil {
		return Frame{}, r.err
	}
	for {
		if f, ok, more := r.takeUnframed(); ok {
			return f, nil
		} else if more {
			if err := r.fill(); err != nil {
				return Frame{}, err
			}
			continue
		}
		t, size, ok, err := r.peek()
		if err != nil {
			r.err = err
			return Frame{}, err
		}
		if ok {
			r.unframed = false
			from := r.begin + HeaderSize
			r.begin = from + size
			return Frame{Type: t, Payload: r.buf[from:r.begin:r.begin]}, nil
		}
		if err := r.fill(); err != nil {
			return Frame{}, err
		}
	}
}

// Skip gives up the frame that Next failed at, be it too large, or as there is no
// memory for it or its rest does not come: Next goes on behind it, and nothing of
// it is kept. It reports false where nobody knows where that is.
func (r *Reader) Skip() bool {
	have := r.buf[r.begin:r.end]
	if errors.Is(r.err, errClosed) || len(have) > 0 && have[0] != Version {
		return false
	}
	r.err = nil
	if len(have) >= HeaderSize {
		size := HeaderSize + int64(binary.BigEndian.Uint32(have[4:]))
		gone := min(size, int64(len(have)))
		r.begin += int(gone)
		r.skip = size - gone
	}
	return true
}

// Ready reports whether Next would return without reading from the source: the
// time to flush replies is when it does not.
func (r *Reader) Ready() bool {
	if have := r.buf[r.begin:r.end]; r.unframed && len(have) > 0 {
		if n, whole := unframed(have); n > 0 {
			return whole
		}
	}
	_, _, ok, err := r.peek()
	return ok || err != nil || r.err != nil
}

// Close gives the buffer's memory back, and with it what was read and not yet
// given out: Next fails from here on.
func (r *Reader) Close() {
	if r.err == nil {
		r.err = errClosed
	}
	r.buf, r.begin, r.end = nil, 0, 0
	r.account()
}

func (r *Reader) peek() (t wire.Type, size int, ok bool, err error) {
	have := r.buf[r.begin:r.end]
	if len(have) > 0 && have[0] != Version {
		return 0, 0, false, fmt.Errorf("%w %d, want %d", ErrVersion, have[0], Version)
	}
	if len(have) < HeaderSize {
		return 0, 0, false, nil
	}
	t, size, err = header(have)
	return t, size, err == nil && len(have) >= HeaderSize+size, err
}

func (r *Reader) fill() error {
	if err := r.makeRoom(); err != nil {
		return err
	}
	if r.beforeRead != nil {
		r.beforeRead(r.end > r.begin)
	}
	var n int
	var err error
	for range maxEmptyReads {
		if n, err = r.src.Read(r.buf[r.end:]); n != 0 || err != nil {
			break
		}
		err = io.ErrNoProgress
	}
	if n > 0 {
		r.end += n
		gone := min(r.skip, int64(r.end-r.begin))
		r.begin += int(gone)
		r.skip -= gone
		return nil // what came counts first; the error comes again
	}
	switch {
	case !errors.Is(err, io.EOF):
	case r.skip > 0:
		err = fmt.Errorf("%w: the stream ended %d bytes before its end", ErrTruncated, r.skip)
	case r.end > r.begin:
		err = fmt.Errorf("%w: the stream ended after %d bytes of it", ErrTruncated, r.end-r.begin)
	}
	return err
}

// makeRoom leaves free space behind r.end: it moves what is buffered to the
// front, drops a large buffer that is no longer needed, or doubles a full one.
func (r *Reader) makeRoom() error {
	if r.begin == r.end {
		r.begin, r.end = 0, 0
	}
	held := r.buf[r.begin:r.end]
	size := len(r.buf)
	switch {
	case size == 0 || size > shrinkBuffer && len(held) < readBuffer:
		size = readBuffer
	case r.end < size:
		return nil
	case len(held) > size/2:
		size = min(2*size, HeaderSize+wire.MaxPayload)
	}
	into := r.buf
	if size != len(r.buf) {
		if err := r.reserve(size); err != nil {
			return err
		}
		into = make([]byte, size)
	}
	r.begin, r.end = 0, copy(into, held)
	r.buf = into
	r.account()
	return nil
}

// reserve asks for the growth to size before it is allocated.
func (r *Reader) reserve(size int) error {
	grow := size - r.reserved
	if r.memory == nil || grow <= 0 {
		return nil
	}
	prio := uint8(MemoryFirst)
	if size > readBuffer {
		prio = MemoryMore
	}
	if err := r.memory.ReserveMemory(grow, prio); err != nil {
		return fmt.Errorf("%w of %d bytes: %w", ErrNoMemory, size, err)
	}
	r.reserved = size
	return nil
}

// account returns what is reserved beyond the buffer in use.
func (r *Reader) account() {
	if over := r.reserved - len(r.buf); over > 0 {
		r.memory.ReleaseMemory(over)
		r.reserved = len(r.buf)
	}
}
