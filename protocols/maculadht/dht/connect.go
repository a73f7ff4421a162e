package dht

import (
	"fmt"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/addressing"
)

func (h *Handlers) serveConnect(a *asker, f framing.Frame) error {
	var m wire.Connect
	field, err := broken(m.Decode(f.Payload))
	if err != nil {
		return err
	}
	if why := h.admit(a, &m, field); why != nil {
		return a.TurnAway(why)
	}
	a.id = routing.IDFromBytes(m.NodeID)
	now := time.Now().UnixMilli()
	pong := &wire.Pong{
		Timestamp:  wire.Some(now),
		ServerTime: wire.Some(now),
		NodeID:     h.nodeID,
		Endpoint:   h.EndpointFor(a.reach()),
	}
	if a.dialect.Extended {
		pong.RealmID = h.cfg.realm
		pong.Addrs = addressing.EncodeAddrs(h.AddrsFor(a.reach()))
		pong.StoreID = h.routes.Records().StoreID()
	}
	if err := a.Accept(m.NodeID, pong); err != nil {
		return err
	}
	h.neverName(a, m.NodeID, m.Endpoint)
	return nil
}

// admit returns nil, or why the peer is turned away.
func (h *Handlers) admit(a *asker, m *wire.Connect, field *wire.FieldError) *wire.Disconnect {
	switch {
	case m.RealmID != h.cfg.realm:
		return &wire.Disconnect{Reason: wire.ReasonRealmMismatch,
			Message: fmt.Sprintf("This node serves the realm %q, not %q", h.cfg.realm, m.RealmID)}
	case field != nil && m.NodeID == nil:
		return &wire.Disconnect{Reason: wire.ReasonInvalidConnect, Message: field.Error()}
	case a.Session().Admit == nil:
		return nil
	}
	return a.Session().Admit(a.Peer, m)
}

func (h *Handlers) servePing(a *asker, f framing.Frame) error {
	var m wire.Ping
	if _, err := broken(m.Decode(f.Payload)); err != nil {
		return err
	}
	now := time.Now().UnixMilli()
	return a.Reply(&wire.Pong{
		Timestamp:  wire.Some(m.Timestamp.Or(now)),
		ServerTime: wire.Some(now),
	})
}

func (h *Handlers) serveNATProbe(a *asker, f framing.Frame) error {
	var m wire.NATProbe
	if _, err := broken(m.Decode(f.Payload)); err != nil {
		return err
	}
	reply := &wire.NATProbeReply{
		NodeID:     h.nodeID,
		RequestID:  orUndefined(m.RequestID),
		ServerTime: wire.Some(time.Now().UnixMilli()),
	}
	if remote := a.Session().Remote; remote.IsValid() {
		reply.ReflexiveIP = remote.Addr().Unmap().WithZone("").String()
		reply.ReflexivePort = int64(remote.Port())
	}
	return a.Reply(reply)
}
