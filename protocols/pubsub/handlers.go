package pubsub

import (
	"bytes"
	"errors"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// What a frame costs of its sender's budget, in frames beside its own.
const (
	subscribeCost = 4       // for each pattern
	newTopicCost  = 20      // where it has others asked who has subscribed
	copiesPerCost = 4       // so many copies count as a frame
	bytesPerCost  = 1 << 10 // and so many bytes of them
	maxBytesCost  = 1 << 15 // the most that bytes count as, well below the usual burst
)

// register has the frames of topics handled.
func (t *Topics) register() error {
	mux := t.service.Handlers().Mux()
	var errs error
	for typ, handle := range map[wire.Type]server.Handler{
		wire.TypeSubscribe:   t.serveSubscribe,
		wire.TypeUnsubscribe: t.serveUnsubscribe,
		wire.TypePublish:     t.servePublish,
		wire.TypePubSubRoute: t.serveRoute,
	} {
		errs = errors.Join(errs, mux.Handle(typ, func(p *server.Peer, f framing.Frame) error {
			if t.isClosed() {
				return nil
			}
			return handle(p, f)
		}))
	}
	return errs
}

// hasMet reports whether a stream is of somebody of our realm, as far as he has said:
// who has CONNECTed on it, or a libp2p peer that has on another.
func hasMet(p *server.Peer) bool {
	s := p.Session()
	return p.Connected() || s.Dialect.Extended && s.Met != nil && s.Met()
}

// broken returns err unless it is about a field.
func broken(err error) error {
	if _, is := errors.AsType[*wire.FieldError](err); is {
		return nil
	}
	return err
}

// clientOf returns what is kept of a stream that changes so many of its subscriptions; nil
// where it may not.
func (t *Topics) clientOf(p *server.Peer, patterns int) *client {
	switch {
	case !hasMet(p):
		t.dropped(DropUnmet, 1)
	case !p.Charge(subscribeCost * patterns):
		t.dropped(DropBusy, 1)
	default:
		return t.clients.Of(p)
	}
	return nil
}

func (t *Topics) serveSubscribe(p *server.Peer, f framing.Frame) error {
	var m wire.Subscribe
	if err := broken(m.Decode(f.Payload)); err != nil {
		return err
	}
	c := t.clientOf(p, len(m.Topics))
	if c == nil {
		return nil
	}
	for _, pattern := range m.Topics {
		if pattern != "" && (checkPattern(pattern) != nil || !c.subscribe(pattern)) {
			t.dropped(DropRefused, 1)
		}
	}
	return nil
}

func (t *Topics) serveUnsubscribe(p *server.Peer, f framing.Frame) error {
	var m wire.Unsubscribe
	if err := broken(m.Decode(f.Payload)); err != nil {
		return err
	}
	c := t.clientOf(p, len(m.Topics))
	if c == nil {
		return nil
	}
	for _, pattern := range m.Topics {
		if pattern != "" {
			c.unsubscribe(pattern)
		}
	}
	return nil
}

// servePublish takes what somebody publishes here. On a stream of the ALPN dialect on
// which nobody CONNECTed, such as that of this node's own session at an Erlang gateway,
// which has found its record, it is for those who are here alone.
func (t *Topics) servePublish(p *server.Peer, f framing.Frame) error {
	met := hasMet(p)
	extended := p.Session().Dialect.Extended
	if !met && extended {
		t.dropped(DropUnmet, 1)
		return f.Check()
	}
	m, err := read(f.Payload, extended)
	if err != nil {
		return t.incomplete(err)
	}
	if met {
		t.take(p, m, &t.count.published, true)
	} else {
		t.take(p, m, &t.count.received, false)
	}
	return nil
}

// incomplete counts a PUBLISH that is not delivered. The error is for the handler to
// return.
func (t *Topics) incomplete(err error) error {
	t.dropped(DropIncomplete, 1)
	if errors.Is(err, errIncomplete) {
		return nil
	}
	return err
}

// take publishes a message, at the cost of who brought it.
func (t *Topics) take(p *server.Peer, m *message, count interface{ Add(uint64) uint64 }, elsewhere bool) {
	if isKeyTopic(m.Topic) { // which this node alone tells of
		t.dropped(DropRefused, 1)
		return
	}
	to := t.cache.Get(m.Topic)
	if elsewhere && to.isNew() && !p.Charge(newTopicCost) {
		t.dropped(DropBusy, 1)
		return
	}
	count.Add(1)
	m.by, m.charge = p.Session().Payer(), p.Charge
	t.cfg.tracer.Published(!elsewhere)
	to.publish(m, elsewhere)
}

// serveRoute takes what another node sends for those who have subscribed here. It is never
// passed on. Over ALPN "macula" it comes on connections without a CONNECT.
func (t *Topics) serveRoute(p *server.Peer, f framing.Frame) error {
	var r wire.PubSubRoute
	if err := broken(r.Decode(f.Payload)); err != nil {
		return err
	}
	extended := p.Session().Dialect.Extended
	switch {
	case extended && !hasMet(p):
		t.dropped(DropUnmet, 1)
		return nil
	case !bytes.Equal(r.Destination, t.self[:]), r.HopCount < 0, r.HopCount >= min(r.MaxHops, wire.MaxHops):
		t.dropped(DropMisrouted, 1)
		return nil
	}
	m, err := read(r.Payload, extended)
	switch {
	case err != nil:
		return t.incomplete(err)
	case r.Topic != "" && r.Topic != m.Topic:
		t.dropped(DropIncomplete, 1)
		return nil
	}
	t.take(p, m, &t.count.received, false)
	return nil
}
