package framing

import (
	"bytes"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/msgpack"
)

// maxUnframed is how long a relay_request without a frame may be, in bytes: it holds a
// node id beside its type.
const maxUnframed = 1 << 10

// relayRequest is how the map begins that Erlang clients send without a header, behind
// its first byte.
var relayRequest = []byte("\xc4\x04type\xc4\x0d" + wire.TextRelayRequest)

// WithRelayRequest has the reader take a relay_request, which Erlang clients send as a
// MessagePack map without a header, where it is the first that comes: as a frame of the
// type 0, which is none. Anything else without a header is ErrVersion as ever.
func WithRelayRequest() ReaderOption { return func(r *Reader) { r.unframed = true } }

// takeUnframed returns the relay_request that is at the front. It reports more where its
// rest is to come.
func (r *Reader) takeUnframed() (f Frame, ok, more bool) {
	have := r.buf[r.begin:r.end]
	if !r.unframed || len(have) == 0 {
		return Frame{}, false, false
	}
	if n, whole := unframed(have); whole {
		f = Frame{Payload: have[:n:n]}
		r.begin += n
		r.unframed = false
		return f, true, false
	} else if n > 0 {
		return Frame{}, false, true
	}
	r.unframed = false
	return Frame{}, false, false
}

// unframed returns how long the relay_request is at the front of b and whether it is
// whole; a length of 0 where there is none.
func unframed(b []byte) (n int, whole bool) {
	if b[0] < 0x81 || b[0] > 0x8f { // a map of 1 to 15 fields
		return 0, false
	}
	if part := b[1:min(len(b), 1+len(relayRequest))]; !bytes.HasPrefix(relayRequest, part) {
		return 0, false
	}
	_, n, err := msgpack.Next(b[:min(len(b), maxUnframed)], wire.MaxDepth, true)
	switch {
	case err == nil:
		return n, true
	case len(b) >= maxUnframed:
		return 0, false
	default:
		return len(b), false
	}
}
