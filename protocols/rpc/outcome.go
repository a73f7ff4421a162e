package rpc

import (
	"fmt"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/rpc/internal/payload"
)

// outcome is what came of a call: an error, or else a result.
type outcome struct {
	result payload.Payload
	err    *wire.CallError
	frame  []byte // the answer as it came, of an RPC_REQUEST that was passed on as it came
}

func failed(code, format string, args ...any) outcome {
	return outcome{err: &wire.CallError{Code: code, Message: fmt.Sprintf(format, args...)}}
}

// in returns the outcome with its result in a form, or why it has none.
func (o outcome) in(form func(payload.Payload) (wire.Raw, error)) (wire.Raw, *wire.CallError) {
	if o.err != nil {
		return nil, o.err
	}
	raw, err := form(o.result)
	if err != nil {
		return nil, failed(wire.CodeHandlerError, "The result can not be passed on: %v", err).err
	}
	if len(raw) > maxPayload {
		return nil, failed(wire.CodeTooLarge, "The result has %d bytes, limit %d", len(raw), maxPayload).err
	}
	return raw, nil
}

// maxPayload is how long args and a result may be, so that a frame has room for them.
const maxPayload = wire.MaxPayload - 4<<10
