package glass

import (
	"maps"
	"net"
	"slices"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
)

// Stats is what a gateway has counted.
type Stats struct {
	Accepted    int  // connections, in all
	Open        int  // connections that it accepted, now
	Refused     int  // handshakes, while another was under way; again, if the client missed that
	Handshaking bool // one is under way
	Streams     int  // opened by clients and not ended by them

	Frames     map[wire.Type]int // that came whole
	Longest    int               // of these, in bytes
	Reused     int               // of these, those that were not the first of their stream
	Replies    int
	Asking     map[wire.Type]int // frames not yet replied to
	MostAsking map[wire.Type]int // the most of them at a time
	Lost       int               // receive events, or parts of one, that were no frame

	Limited  int // connections that were refused for there being too many, see [RateLimited]
	Restarts int
	Denied   int // deliveries of a PUBLISH to what is subscribed in the DHT, as its topic is not public
	Unrouted int // what was to be passed on to another node, and was lost
	Stray    int // RPC_REPLYs for nobody who is connected

	DiscoveryCrashes int // one at each poll of a store with a gateway's key from outside

	Dialled     int // connections, in all
	DialledOpen int // of these, now
	CutReplies  int // to its own lookups: more came than the first bytes
}

// Total returns how many frames came, of all types.
func (s Stats) Total() (n int) {
	for _, of := range s.Frames {
		n += of
	}
	return n
}

// ledger is what a gateway writes down.
type ledger struct {
	stats    Stats // without what is read off elsewhere
	conns    map[*quic.Conn]struct{}
	refusals map[string]time.Time // when a client address was last refused
	lost     []string
	lapses   []string
	notices  []wire.Message
}

// maxNotes is how many notes of a kind are kept.
const maxNotes = 10_000

func newLedger() ledger {
	return ledger{
		stats:    Stats{Frames: make(map[wire.Type]int), Asking: make(map[wire.Type]int), MostAsking: make(map[wire.Type]int)},
		conns:    make(map[*quic.Conn]struct{}),
		refusals: make(map[string]time.Time),
	}
}

// note keeps the first notes of a kind.
func note[T any](notes *[]T, n T) {
	if len(*notes) < maxNotes {
		*notes = append(*notes, n)
	}
}

// lose counts an event that is no frame; g.mu is held.
func (g *Gateway) lose(why string) {
	g.stats.Lost++
	note(&g.ledger.lost, why)
}

// lapse notes what breaks nothing, but is not careful; g.mu is held.
func (g *Gateway) lapse(what string) { note(&g.ledger.lapses, what) }

// heard counts a frame; g.mu is held.
func (g *Gateway) heard(s *stream, f framing.Frame) {
	g.stats.Frames[f.Type]++
	g.stats.Longest = max(g.stats.Longest, framing.HeaderSize+len(f.Payload))
	if s.frames++; s.frames > 1 {
		g.stats.Reused++
	}
	if len(s.waiting) > 0 {
		g.lapse("a " + f.Type.String() + " frame before the reply to " + s.waiting[0].String())
	}
	switch f.Type {
	case wire.TypePublish, wire.TypeSubscribe, wire.TypeUnsubscribe, wire.TypePubSubRoute:
		if m, err := f.Decode(); err == nil {
			note(&g.ledger.notices, m)
		}
	}
	if answers(f.Type) && !g.hung {
		s.waiting = append(s.waiting, f.Type)
		g.stats.Asking[f.Type]++
		g.stats.MostAsking[f.Type] = max(g.stats.MostAsking[f.Type], g.stats.Asking[f.Type])
	}
}

// answered takes a frame off those that wait for their reply; g.mu is held.
func (g *Gateway) answered(s *stream, t wire.Type) {
	if i := slices.Index(s.waiting, t); i >= 0 {
		s.waiting = slices.Delete(s.waiting, i, i+1)
		g.stats.Asking[t]--
	}
}

// Stats returns what it has counted so far.
func (g *Gateway) Stats() Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.stats
	s.Open, s.Handshaking = len(g.conns), g.shaking != nil
	s.Frames, s.Asking, s.MostAsking = maps.Clone(s.Frames), maps.Clone(s.Asking), maps.Clone(s.MostAsking)
	s.DialledOpen = g.outbound.open()
	return s
}

// Lost returns why the receive events that were no frame were none.
func (g *Gateway) Lost() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.ledger.lost)
}

// Lapses returns what a careful client does not do: it ended or stopped a
// stream before the reply to a frame, or sent another frame before it.
func (g *Gateway) Lapses() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.ledger.lapses)
}

// Notices returns the PUBLISH, SUBSCRIBE, UNSUBSCRIBE and PUBSUB_ROUTE that came.
func (g *Gateway) Notices() []wire.Message {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.ledger.notices)
}

// Clients returns the addresses of the connections that it has accepted and
// that are open, in no order.
func (g *Gateway) Clients() (addrs []net.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for conn := range g.conns {
		addrs = append(addrs, conn.RemoteAddr())
	}
	return addrs
}
