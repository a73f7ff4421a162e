package backend

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"

	"github.com/macula-mesh/macula-node/node/api/schema"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

const (
	// waitingEvents is how many events wait for a reader; of more the newest are dropped.
	waitingEvents = 256
	// lookTime is how often it is looked what has changed of what nobody tells.
	lookTime = time.Second
)

// hub hands events to their readers.
type hub struct {
	mu      sync.Mutex
	readers map[*reader]struct{}
	before  *snapshot // nil without readers
}

// reader is one of them.
type reader struct {
	waiting chan schema.Event
	dropped uint64 // since the last that it was handed; under the hub's mu
}

// Events implements api.State.
func (b *Backend) Events(ctx context.Context, begun func()) iter.Seq[schema.Event] {
	return func(yield func(schema.Event) bool) {
		r := &reader{waiting: make(chan schema.Event, waitingEvents)}
		b.hub.enter(r, b.look)
		defer b.hub.leave(r)
		begun()
		for {
			select {
			case <-ctx.Done():
				return
			case e := <-r.waiting:
				if !yield(e) {
					return
				}
			}
		}
	}
}

func (h *hub) enter(r *reader, look func() *snapshot) {
	now := look()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.readers == nil {
		h.readers = make(map[*reader]struct{})
	}
	if len(h.readers) == 0 {
		h.before = now
	}
	h.readers[r] = struct{}{}
}

func (h *hub) leave(r *reader) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.readers, r)
	if len(h.readers) == 0 {
		h.before = nil
	}
}

// publish hands an event to all readers; who has too many waiting misses it.
func (b *Backend) publish(e schema.Event) { b.hub.publish(e) }

func (h *hub) publish(e schema.Event) {
	e.Time = time.Now().UTC().Truncate(time.Millisecond)
	h.mu.Lock()
	defer h.mu.Unlock()
	for r := range h.readers {
		e.Dropped = r.dropped
		select {
		case r.waiting <- e:
			r.dropped = 0
		default:
			r.dropped++
		}
	}
}

// turn returns what was seen before, and has now be that; nil where nobody reads.
func (h *hub) turn(look func() *snapshot) (before, now *snapshot) {
	h.mu.Lock()
	wanted := h.before != nil
	h.mu.Unlock()
	if !wanted {
		return nil, nil
	}
	now = look()
	h.mu.Lock()
	defer h.mu.Unlock()
	if before = h.before; before != nil {
		h.before = now
	}
	return before, now
}

// watchAll has what happens told until ctx ends. Who comes and goes is told by a goroutine that
// does nothing else: who connects waits in the bus until there is room for that.
func (b *Backend) watchAll(ctx context.Context) error {
	sub, err := b.Host.EventBus().Subscribe(new(event.EvtPeerConnectednessChanged), eventbus.BufSize(waitingEvents), eventbus.Name("macula/events"))
	if err != nil {
		return fmt.Errorf("subscribe to who comes and goes: %w", err)
	}
	b.watch.Go(func() {
		defer sub.Close()
		for {
			select {
			case <-ctx.Done():
				return
			case e, open := <-sub.Out():
				if !open {
					return
				}
				b.connectedness(e.(event.EvtPeerConnectednessChanged))
			}
		}
	})
	b.watch.Go(func() {
		tick := time.NewTicker(lookTime)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if before, now := b.hub.turn(b.look); before != nil {
					now.changes(before, b.publish)
				}
			}
		}
	})
	return nil
}

func (b *Backend) connectedness(e event.EvtPeerConnectednessChanged) {
	told := schema.Event{Kind: schema.EventPeerCame, PeerID: e.Peer.String(), NodeID: routing.IDFromPeer(e.Peer).String()}
	switch e.Connectedness {
	case network.NotConnected:
		told.Kind = schema.EventPeerLeft
	default:
		if conns := b.Host.Network().ConnsToPeer(e.Peer); len(conns) > 0 {
			told.Addr = conns[0].RemoteMultiaddr().String()
		}
	}
	b.publish(told)
}

// snapshot is what was seen at one time: things that come and go, things that have a state,
// and counters.
type snapshot struct {
	contacts, sessions  map[string]schema.Event
	uplinks, bootstraps map[string]schema.Event
	problems            map[string]schema.Event
	mode, addrs         string
	refused, stored     map[string]uint64
	published, called   map[string]uint64
}

// look takes a snapshot.
func (b *Backend) look() *snapshot {
	status := b.Status()
	s := &snapshot{mode: status.Mode, addrs: strings.Join(slices.Sorted(slices.Values(status.Addrs)), " "),
		contacts: make(map[string]schema.Event), sessions: make(map[string]schema.Event), uplinks: make(map[string]schema.Event),
		bootstraps: make(map[string]schema.Event), problems: make(map[string]schema.Event)}
	for _, c := range b.Service.Routing().Contacts() {
		s.contacts[c.ID.String()] = schema.Event{NodeID: c.ID.String(), PeerID: peerOf(c), Addr: c.Endpoint}
	}
	for _, c := range b.Clients() {
		s.sessions[c.NodeID+c.Addr+c.PeerID] = schema.Event{NodeID: c.NodeID, PeerID: c.PeerID, Addr: c.Addr}
	}
	for _, u := range b.UplinkList() {
		s.uplinks[u.Gateway+u.State] = schema.Event{Addr: u.Gateway, State: u.State, Text: u.Error}
	}
	for _, u := range status.Bootstrap {
		s.bootstraps[u.Addr+u.State] = schema.Event{Addr: u.Addr, State: u.State, Text: u.Error}
	}
	for _, p := range status.Problems {
		s.problems[p] = schema.Event{Text: p}
	}
	s.count(status.Refused, b)
	return s
}

func (s *snapshot) count(r schema.Refused, b *Backend) {
	s.refused = refusals(r)
	st := b.records().Stats()
	s.stored = map[string]uint64{"stored": st.Stored, "replaced": st.Replaced, "not_owner": st.NotOwner, "over_budget": st.OverBudget, "key_full": st.KeyFull, "expired": st.Expired, "evicted": st.Evicted, "gave_way": st.GaveWay}
	t := b.Topics.Stats()
	s.published = map[string]uint64{"published": t.Published, "received": t.Received, "delivered": t.Delivered, "sent": t.Sent, "busy": t.Busy, "refused": t.Refused, "overflowed": t.Overflowed, "unsent": t.Unsent}
	c := b.Calls.Stats()
	s.called = map[string]uint64{"calls": c.Calls, "answered": c.Answered, "failed": c.Failed, "late": c.Late, "busy_caller": c.BusyCaller, "busy_all": c.BusyAll, "busy_provider": c.BusyProvider}
}

// refusals are the counters of what was refused, by why it was.
func refusals(r schema.Refused) map[string]uint64 {
	all := map[string]uint64{"denied": r.Denied, "not_allowed": r.NotAllowed, "handshakes": r.Handshakes, "gave_way": r.GaveWay, "connect_first": r.ConnectFirst, "busy": r.Busy}
	for reason, n := range r.TurnedAway {
		all["turned_away_"+reason] = n
	}
	return all
}

// changes tells what has happened since before.
func (s *snapshot) changes(before *snapshot, tell func(schema.Event)) {
	comings(before.contacts, s.contacts, schema.EventContactCame, schema.EventContactLeft, tell)
	comings(before.sessions, s.sessions, schema.EventSessionUp, schema.EventSessionDown, tell)
	comings(before.uplinks, s.uplinks, schema.EventUplink, "", tell)
	comings(before.bootstraps, s.bootstraps, schema.EventBootstrap, "", tell)
	comings(before.problems, s.problems, schema.EventProblem, schema.EventProblemSolved, tell)
	if s.mode != before.mode {
		tell(schema.Event{Kind: schema.EventMode, State: s.mode})
	}
	if s.addrs != before.addrs {
		tell(schema.Event{Kind: schema.EventAddresses, Text: s.addrs})
	}
	counted(before.refused, s.refused, schema.EventRefused, tell)
	counted(before.stored, s.stored, schema.EventRecords, tell)
	counted(before.published, s.published, schema.EventTopics, tell)
	counted(before.called, s.called, schema.EventCalls, tell)
}

// comings tells who has come and, where left says how, who has gone.
func comings(before, now map[string]schema.Event, came, left string, tell func(schema.Event)) {
	each := func(from, other map[string]schema.Event, kind string) {
		for _, name := range slices.Sorted(maps.Keys(from)) {
			if _, there := other[name]; !there {
				e := from[name]
				e.Kind = kind
				tell(e)
			}
		}
	}
	each(now, before, came)
	if left != "" {
		each(before, now, left)
	}
}

// counted tells which counters have grown, and by how much.
func counted(before, now map[string]uint64, kind string, tell func(schema.Event)) {
	grown := make(map[string]uint64)
	for name, n := range now {
		if n > before[name] {
			grown[name] = n - before[name]
		}
	}
	if len(grown) > 0 {
		tell(schema.Event{Kind: kind, Counts: grown})
	}
}
