package glass

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
)

// ErrNotOwned: the realm of a client does not own the topic, so it was not sent.
var ErrNotOwned = errors.New("glass: topic of another realm")

// Subscribe subscribes to a topic or pattern: SUBSCRIBE on its stream, and a
// record in the DHT, at every node that its node knows, renewed until the
// session ends. The record's endpoint is that of the gateway it uses. PUBLISHes
// are among [Session.Messages].
func (s *Session) Subscribe(topic string) error {
	if err := s.Say(&wire.Subscribe{Topics: []string{topic}}); err != nil {
		return err
	}
	record := s.gateway.record(s.id, s.endpoint)
	s.renewed(func(ctx context.Context) { s.gateway.Propagate(ctx, topicKey(topic), record) })
	return nil
}

// Unsubscribe says UNSUBSCRIBE. The record in the DHT stays, and is renewed no
// less.
func (s *Session) Unsubscribe(topic string) error {
	return s.write(frame(wire.TypeUnsubscribe, wire.Pair{Key: "topics", Value: wire.RawArray(wire.RawText(topic))}))
}

// renewed does something now and, until the session ends, before each ttl has
// passed.
func (s *Session) renewed(do func(ctx context.Context)) {
	ttl := s.gateway.cfg.ttl
	again := ttl - renewBefore
	if again < ttl/2 {
		again = ttl / 2
	}
	s.gateway.spawn(func() {
		for {
			do(s.ctx)
			if !pause(s.ctx, again) {
				return
			}
		}
	})
}

// Publish publishes JSON text. With a QoS above 0 it waits for an
// acknowledgement that does not exist, and says it twice more, 5 s apart.
func (s *Session) Publish(p Publication) error {
	if realm := s.gateway.cfg.realm; p.Topic != realm && !strings.HasPrefix(p.Topic, realm+".") {
		return fmt.Errorf("%w: %s", ErrNotOwned, p.Topic)
	}
	s.mu.Lock()
	s.pubs++
	id := wire.RawBytes(counter(s.pubs))
	s.mu.Unlock()
	if err := s.write(p.frame(id)); err != nil || p.QoS == 0 {
		return err
	}
	p.Retain = false
	s.gateway.spawn(func() {
		for range 2 {
			if !pause(s.ctx, repeatAfter) {
				return
			}
			s.write(p.frame(id))
		}
	})
	return nil
}

// Advertise stores a record of a procedure on its stream, renewed until the
// session ends. What it would do when called nobody asks it: a call by
// RPC_ROUTE never comes this far (see [Session.Call]).
func (s *Session) Advertise(procedure string) {
	record := s.gateway.record(s.id, s.endpoint, wire.Pair{Key: "metadata", Value: wire.RawMap()})
	s.renewed(func(context.Context) { s.Say(&wire.Store{Key: topicKey(procedure), Value: record}) })
}

// Register makes a procedure answer RPC_REQUEST, as
// macula_rpc_handler:register_local_procedure does.
func (s *Session) Register(procedure string, f func(args []byte) Outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.procedures[procedure] = f
}

// serve answers an RPC_REQUEST on the stream on which it came.
func (s *Session) serve(l *link, m wire.Raw) {
	procedure, _ := field(m, "procedure")
	args, _ := field(m, "args")
	id, _ := field(m, "request_id")
	from, _ := field(m, "from_node")
	s.mu.Lock()
	f := s.procedures[contentOf(procedure)]
	s.mu.Unlock()
	o := Outcome{Error: "procedure_not_found"}
	if f != nil {
		o = f([]byte(contentOf(args)))
	}
	l.stream.Write(frame(wire.TypeRPCReply,
		wire.Pair{Key: "request_id", Value: erlangForm(id)},
		o.pair(),
		wire.Pair{Key: "from_node", Value: wire.RawBytes(s.id)},
		wire.Pair{Key: "to_node", Value: erlangForm(from)},
		wire.Pair{Key: "timestamp", Value: wire.RawInt(time.Now().UnixMilli())}))
}
