package safety

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// MaxFrame is how long a frame to an Erlang node may be, in bytes: it takes each
// receive event for a whole frame, and longer ones come in pieces.
const MaxFrame = 10_000

// Why a message is not sent to an Erlang node. Nothing has left then.
var (
	// ErrTooLargeForPeer: the frame is longer than MaxFrame.
	ErrTooLargeForPeer = errors.New("too large for an Erlang node")
	// ErrHarmful: the message would crash or hang the node, or make it lose
	// what it stored.
	ErrHarmful = errors.New("would harm an Erlang node")
	// ErrFindNode is the ErrHarmful of a FIND_NODE that is not forced.
	ErrFindNode = fmt.Errorf("%w: FIND_NODE crashes one that bootstrapped from another", ErrHarmful)
)

// Encode returns the frame of a message that an Erlang node can take; force lets a
// FIND_NODE through. Errors are ErrHarmful, ErrTooLargeForPeer and
// proto.ErrInvalidRequest.
func Encode(m wire.Message, force bool) ([]byte, error) {
	if err := harmless(m, force); err != nil {
		return nil, err
	}
	switch stores := m.(type) {
	case *wire.Store:
		m = &wire.Store{Key: stores.Key, Value: stores.Value}
	case *wire.Call:
		if stores.Procedure == wire.ProcedureStore {
			m = plainStore(stores)
		}
	}
	frame, err := framing.AppendFrame(nil, m)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTooLargeForPeer, err)
	}
	if len(frame) > MaxFrame {
		return nil, fmt.Errorf("%w: %s frame of %d bytes, limit %d", ErrTooLargeForPeer, m.Type(), len(frame), MaxFrame)
	}
	if _, err := (framing.Frame{Type: m.Type(), Payload: frame[framing.HeaderSize:]}).Decode(); err != nil {
		return nil, fmt.Errorf("%w: %w", proto.ErrInvalidRequest, err)
	}
	return frame, nil
}

// harmless lets those messages through that no recorded node was hurt by
// (docs/WIRE.md, what keeps it alive). What is not listed has not been tried.
func harmless(m wire.Message, force bool) error {
	switch m := m.(type) {
	case *wire.Ping, *wire.Disconnect, *wire.Subscribe, *wire.Unsubscribe, *wire.NATProbe, *wire.RPCRequest:
		return nil
	case *wire.Publish:
		return harmlessPublish(m)
	case *wire.PubSubRoute:
		return harmlessRoute(m)
	case *wire.FindValue:
		return wantKey(m.Key)
	case *wire.FindNode:
		if !force {
			return ErrFindNode
		}
		if m.Target == nil {
			return fmt.Errorf("%w: FIND_NODE without target", ErrHarmful)
		}
		return nil
	case *wire.Store:
		return harmlessRecord(m.Key, m.Value)
	case *wire.Call:
		if m.Procedure != wire.ProcedureStore {
			return harmlessArgs(m)
		}
		var args procedures.StoreArgs
		if err := args.Decode(m.Args); err != nil {
			return fmt.Errorf("%w: _dht.store: %w", ErrHarmful, err)
		}
		return harmlessRecord(args.Key, args.Value)
	case *wire.Connect:
		return fmt.Errorf("%w: CONNECT of another realm hangs it for ever", ErrHarmful)
	default:
		return fmt.Errorf("%w: %s is not known to be safe", ErrHarmful, m.Type())
	}
}

// harmlessPublish wants all that a gateway reads of a PUBLISH, each of which it crashes
// without.
func harmlessPublish(m *wire.Publish) error {
	switch {
	case m.Topic == "":
		return fmt.Errorf("%w: PUBLISH without topic", ErrHarmful)
	case len(m.Payload) == 0:
		return fmt.Errorf("%w: PUBLISH without payload", ErrHarmful)
	case m.MessageID == nil:
		return fmt.Errorf("%w: PUBLISH without message_id", ErrHarmful)
	}
	return nil
}

// harmlessRoute wants all that a gateway reads of a PUBSUB_ROUTE, and of what is in it.
func harmlessRoute(m *wire.PubSubRoute) error {
	if m.Destination == nil || m.Source == nil || m.Topic == "" {
		return fmt.Errorf("%w: PUBSUB_ROUTE without destination_node_id, source_node_id or topic", ErrHarmful)
	}
	for _, field := range []struct {
		name string
		kind wire.Kind
	}{{"topic", wire.Bin}, {"payload", wire.Invalid}, {"qos", wire.Int}, {"retain", wire.Bool}, {"message_id", wire.Bin}} {
		value, there := m.Payload.Field(field.name)
		if !there || field.kind != wire.Invalid && value.Kind() != field.kind {
			return fmt.Errorf("%w: PUBSUB_ROUTE of a PUBLISH whose %s is missing or of the type %s", ErrHarmful, field.name, value.Kind())
		}
	}
	return nil
}

// harmlessArgs wants a map; one procedure is known to take a text as well.
func harmlessArgs(m *wire.Call) error {
	text, isText := m.Args.Bytes()
	if m.Args.Kind() == wire.Map || m.Procedure == wire.ProcedureListGateways && isText && string(text) == "{}" {
		return nil
	}
	return fmt.Errorf("%w: CALL with args that are no map", ErrHarmful)
}

// plainStore returns the call of _dht.store with nothing in its args but what
// was looked at, under keys that are bin. Where a key is there twice, as str
// and as bin, an Erlang node may read another one than we do.
func plainStore(m *wire.Call) *wire.Call {
	var args procedures.StoreArgs
	if err := args.Decode(m.Args); err != nil {
		return m // not after harmless
	}
	plain := *m
	plain.Args = (&procedures.StoreArgs{Key: args.Key, Value: args.Value}).Raw()
	return &plain
}

func harmlessRecord(key []byte, value wire.Raw) error {
	if err := wantKey(key); err != nil {
		return err
	}
	if bytes.HasPrefix(key, []byte(wire.GatewayPrefix)) {
		return fmt.Errorf("%w: a key %q crashes its discovery over and over", ErrHarmful, wire.GatewayPrefix+"…")
	}
	if len(value) > MaxFrame {
		return fmt.Errorf("%w: value of %d bytes, limit of its frame %d", ErrTooLargeForPeer, len(value), MaxFrame)
	}
	if _, err := values.Parse(value); err != nil {
		return fmt.Errorf("%w: %w", ErrHarmful, err)
	}
	if err := values.Harmless(value); err != nil {
		return fmt.Errorf("%w: %w", ErrHarmful, err)
	}
	return nil
}

func wantKey(key []byte) error {
	if key == nil || len(key) > wire.MaxField {
		return fmt.Errorf("%w: key of %d bytes, want at most %d", proto.ErrInvalidRequest, len(key), wire.MaxField)
	}
	return nil
}
