package proto

import (
	"bytes"
	"fmt"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
)

// ReadReply decodes the reply to a request. A reply that does not fit, is broken
// or says an error becomes a *RemoteError, a DISCONNECT a
// *RefusedError.
func ReadReply(f framing.Frame, request wire.Message) (wire.Message, error) {
	if !f.Type.Answers(request.Type()) {
		return nil, &RemoteError{Code: wire.CodeWrongReply, Message: fmt.Sprintf("%s answered by %s", request.Type(), f.Type)}
	}
	m, err := f.Decode()
	if err != nil {
		return nil, &RemoteError{Code: wire.CodeBadReply, Message: err.Error()}
	}
	switch m := m.(type) {
	case *wire.FindNodeReply:
		if m.Reason != "" {
			return nil, &RemoteError{Code: m.Reason}
		}
	case *wire.FindValueReply:
		if m.Reason != "" {
			return nil, &RemoteError{Code: m.Reason}
		}
	case *wire.Disconnect:
		return nil, &RefusedError{Reason: m.Reason + ": " + m.Message}
	case *wire.Reply:
		if call, ok := request.(*wire.Call); ok && !bytes.Equal(call.CallID, m.CallID) {
			return nil, &RemoteError{Code: wire.CodeWrongCallID, Message: fmt.Sprintf("asked %x, answered %x", call.CallID, m.CallID)}
		}
		if m.Error != nil {
			return nil, &RemoteError{Code: m.Error.Code, Message: m.Error.Message}
		}
	}
	return m, nil
}
