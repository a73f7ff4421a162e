package glass

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
)

// What a client's calls end with.
var (
	// ErrDHTTimeout: no provider was found within 5 s. The client lives.
	ErrDHTTimeout = errors.New("glass: dht_timeout")
	// ErrCrashed: the call crashed its client. Broken tells by what.
	ErrCrashed = errors.New("glass: the caller crashed")
	// ErrTimeout: a request was not answered in time. The client lives.
	ErrTimeout = errors.New("glass: timeout")
)

// CallError is the error of a REPLY or RPC_REPLY: a map, or a text.
type CallError struct{ Raw wire.Raw }

func (e *CallError) Error() string {
	if text := contentOf(e.Raw); text != "" {
		return "glass: " + text
	}
	code, _ := field(e.Raw, "code")
	message, _ := field(e.Raw, "message")
	return fmt.Sprintf("glass: %s: %s", contentOf(code), contentOf(message))
}

// Call is macula:call: FIND_VALUE of the procedure on its stream, then RPC_ROUTE
// to the first provider. A REPLY on that stream within 5 s ends it well, be it
// an error; without one the caller crashes. So does it on a provider's record
// that it can not read. An empty FIND_VALUE_REPLY does not end the wait for
// another.
func (s *Session) Call(ctx context.Context, procedure string, args []byte) (wire.Raw, error) {
	providers, err := s.discover(ctx, procedure)
	if err != nil {
		return nil, err
	}
	if len(providers) == 0 {
		return nil, s.crashed(CauseNoProviders, procedure)
	}
	for _, record := range providers {
		if why, detail := serviceFault(record); why != "" {
			return nil, s.crashed(why, detail)
		}
	}
	to, _ := field(providers[0], "node_id")
	id := s.nextID()
	reply, err := s.await(ctx, id, func() error {
		return s.write(frame(wire.TypeRPCRoute,
			wire.Pair{Key: "destination_node_id", Value: to},
			wire.Pair{Key: "source_node_id", Value: wire.RawBytes(s.id)},
			wire.Pair{Key: "hop_count", Value: wire.RawInt(0)},
			wire.Pair{Key: "max_hops", Value: wire.RawInt(maxHops)},
			wire.Pair{Key: "payload_type", Value: wire.RawText("call")},
			wire.Pair{Key: "payload", Value: wire.RawMap(
				wire.Pair{Key: "call_id", Value: wire.RawBytes(id)},
				wire.Pair{Key: "procedure", Value: wire.RawText(procedure)},
				wire.Pair{Key: "args", Value: wire.RawBytes(args)},
				wire.Pair{Key: "realm", Value: wire.RawText(s.gateway.cfg.realm)})}))
	})
	if errors.Is(err, ErrTimeout) {
		return nil, s.crashed(CauseUnanswered, fmt.Sprintf("%s, within %v", procedure, callTimeout))
	}
	return outcomeOf(reply, err)
}

func (s *Session) crashed(why Cause, detail string) error {
	s.crash(why, detail)
	return fmt.Errorf("%w: %s", ErrCrashed, why)
}

// outcomeOf reads a REPLY or RPC_REPLY.
func outcomeOf(reply wire.Raw, err error) (wire.Raw, error) {
	if err != nil {
		return nil, err
	}
	if e, failed := field(reply, "error"); failed {
		return nil, &CallError{e}
	}
	result, _ := field(reply, "result")
	return result, nil
}

// discover asks for the providers of a procedure on its stream.
func (s *Session) discover(ctx context.Context, procedure string) ([]wire.Raw, error) {
	found := make(chan []wire.Raw, 1)
	s.mu.Lock()
	s.discoveries = append(s.discoveries, found)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.discoveries = slices.DeleteFunc(s.discoveries, func(c chan []wire.Raw) bool { return c == found })
	}()
	err := s.write(frame(wire.TypeFindValue,
		wire.Pair{Key: "type", Value: wire.RawText("find_value")},
		wire.Pair{Key: "key", Value: wire.RawBytes(topicKey(procedure))}))
	if err != nil {
		return nil, err
	}
	return wait(ctx, s, found, ErrDHTTimeout)
}

// discovered hands a hit to the oldest discovery that is open, whatever its key.
func (s *Session) discovered(reply wire.Raw) {
	value, hit := field(reply, "value")
	values, isList := listOf(value)
	if !hit || !isList {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.discoveries) > 0 {
		s.discoveries[0] <- values // it has room for one
		s.discoveries = s.discoveries[1:]
	}
}

// await waits for what answers an id.
func (s *Session) await(ctx context.Context, id []byte, ask func() error) (wire.Raw, error) {
	answer := make(chan wire.Raw, 1)
	s.mu.Lock()
	s.waiting[string(id)] = answer
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.waiting, string(id))
	}()
	if err := ask(); err != nil {
		return nil, err
	}
	return wait(ctx, s, answer, ErrTimeout)
}

// answer hands a reply to who waits for its id.
func (s *Session) answer(reply wire.Raw, name string) {
	id, _ := field(reply, name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if waiting := s.waiting[contentOf(id)]; waiting != nil {
		waiting <- reply
		delete(s.waiting, contentOf(id))
	}
}

// wait waits for 5 s, after which it is an error.
func wait[T any](ctx context.Context, s *Session, c <-chan T, late error) (v T, err error) {
	timer := time.NewTimer(callTimeout)
	defer timer.Stop()
	select {
	case v = <-c:
		return v, nil
	case <-timer.C:
		return v, late
	case <-s.Done():
		return v, ErrCrashed
	case <-ctx.Done():
		return v, context.Cause(ctx)
	}
}

// Way is how a request finds its node.
type Way int

// The ways of macula_rpc_handler:request_to.
const (
	ByStream Way = iota // on its own stream
	ByRelay             // on a connection of its own, behind a relay_request that is no frame
)

// Request is macula_rpc_handler:request_to: it looks for a way to a node, all
// misses, and sends RPC_REQUEST to its gateway, for that node. The reply comes on
// its CONNECTed stream. Without one the client lives.
func (s *Session) Request(ctx context.Context, way Way, target []byte, procedure string, args []byte) (wire.Raw, error) {
	g := s.gateway
	for _, name := range []string{
		"nat.profile." + string(s.id), "nat.profile." + string(target),
		"peer.endpoint." + string(target), "peer.endpoint." + string(s.id), "relay.list",
	} {
		if _, err := g.Lookup(ctx, topicKey(name)); err != nil && !errors.Is(err, ErrNotFound) {
			return nil, err
		}
	}
	g.Propagate(ctx, topicKey("punch."+string(s.id)), s.punchCoordinate(target))
	id := s.nextID()
	request := frame(wire.TypeRPCRequest,
		wire.Pair{Key: "type", Value: wire.RawText("rpc_request")},
		wire.Pair{Key: "request_id", Value: wire.RawBytes(id)},
		wire.Pair{Key: "procedure", Value: wire.RawText(procedure)},
		wire.Pair{Key: "args", Value: wire.RawBytes(args)},
		wire.Pair{Key: "from_node", Value: wire.RawBytes(s.id)},
		wire.Pair{Key: "from_endpoint", Value: wire.RawText("127.0.0.1:4433")},
		wire.Pair{Key: "target_node", Value: wire.RawBytes(target)},
		wire.Pair{Key: "realm", Value: wire.RawText(g.cfg.realm)},
		wire.Pair{Key: "timestamp", Value: wire.RawInt(time.Now().UnixMilli())})
	return outcomeOf(s.await(ctx, id, func() error {
		if way == ByStream {
			return s.write(request)
		}
		return s.relay(ctx, target, request)
	}))
}

// relay sends a request on a connection of its own: the first stream has a map
// without a frame around it, the second the request. Nothing is read of either.
func (s *Session) relay(ctx context.Context, target, request []byte) error {
	g := s.gateway
	conn, err := g.keep(ctx, s.endpoint)
	if err != nil {
		return err
	}
	for i, b := range [][]byte{
		wire.RawMap(
			wire.Pair{Key: "type", Value: wire.RawText("relay_request")},
			wire.Pair{Key: "target_node_id", Value: wire.RawBytes(target)}),
		request,
	} {
		stream, err := conn.OpenStreamSync(ctx)
		if err == nil {
			_, err = stream.Write(b)
		}
		if err != nil {
			return err
		}
		if i == 0 {
			continue
		}
		g.spawn(func() {
			pause(g.ctx, 50*time.Millisecond)
			stream.Close()
			stream.CancelRead(0)
		})
	}
	return nil
}

// punchCoordinate is what a client stores of a way to another one. It names no
// node_id, and nobody reads it.
func (s *Session) punchCoordinate(target []byte) wire.Raw {
	return wire.RawMap(
		wire.Pair{Key: "type", Value: wire.RawText("punch_coordinate")},
		wire.Pair{Key: "payload", Value: wire.RawMap(
			wire.Pair{Key: "peer_id", Value: wire.RawBytes(target)},
			wire.Pair{Key: "peer_ports", Value: erlangForm(wire.RawArray(wire.RawInt(4433), wire.RawInt(4434), wire.RawInt(4435)))},
			wire.Pair{Key: "punch_time", Value: wire.RawInt(time.Now().UnixMilli())},
			wire.Pair{Key: "role", Value: wire.RawText("initiator")},
			wire.Pair{Key: "session_id", Value: wire.RawText("3J1c70gw1Gu5612U9UDumQ==")})})
}
