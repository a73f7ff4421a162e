package dht

import (
	"context"
	"errors"
	"fmt"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/dht/offer"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// HandleQuery answers a frame from inside the process: the libp2p dialect's
// reply to FIND_NODE and FIND_VALUE, an acknowledgement to STORE, and to any
// other type a REPLY with an error. A frame that can not be read, or a value
// that can not be stored, is returned as an error.
func (h *Handlers) HandleQuery(ctx context.Context, frame []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f, rest, err := framing.DecodeFrame(frame)
	if errors.Is(err, wire.ErrUnknownType) {
		return framing.AppendFrame(nil, unknownQuery)
	}
	if err != nil {
		return nil, err
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%w: %d bytes after the frame", wire.ErrMsgpack, len(rest))
	}
	d := server.LibP2P()
	var reply wire.Message
	switch f.Type {
	case wire.TypeFindNode:
		var m wire.FindNode
		if err = m.Decode(f.Payload); err == nil {
			reply = h.HandleFindNode(&m, d)
		}
	case wire.TypeFindValue:
		var m wire.FindValue
		if err = m.Decode(f.Payload); err == nil {
			reply = h.HandleFindValue(ctx, &m, d, proto.MaxFindValueReply)
		}
	case wire.TypeStore:
		var m wire.Store
		if err = m.Decode(f.Payload); err == nil {
			err = h.store(ctx, offer.Offer{Key: m.Key, Value: m.Value, Proof: m.Proof}, Origin{}, d)
		}
		reply = storedHere
	default:
		err = f.Check()
		reply = unknownQuery
	}
	if err != nil {
		return nil, err
	}
	return framing.AppendFrame(nil, reply)
}

// unknownQuery answers what is no question to the DHT.
var unknownQuery = &wire.Reply{Error: &wire.CallError{Message: "Unknown DHT message type"}}

// storedHere acknowledges a STORE inside the process; on a wire there is no
// such message.
var storedHere = &wire.Opaque{MessageType: wire.TypeStore, Fields: wire.RawMap(
	wire.Pair{Key: "type", Value: wire.RawText("store_reply")},
	wire.Pair{Key: "result", Value: wire.RawText("ok")},
)}
