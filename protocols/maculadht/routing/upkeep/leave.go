package upkeep

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

const (
	// maxLeave is how many bytes of records a node that leaves hands over at most.
	maxLeave = 16 << 20
	// leavesAtOnce is how many records are on their way at a time then.
	leavesAtOnce = 32
	// lookForOthers is how often it is looked whether anybody is left.
	lookForOthers = 50 * time.Millisecond
)

// Leave hands over what this node may be the only one to have, before it goes: the
// records of which it is the nearest holder or one of the [routing.BucketSize]
// nearest, to the three contacts nearest to their key; the former first. It ends
// with ctx, with Close, or when all is done; contacts that are doubtful, or do not
// take a record, are passed over, and of many records only the first maxLeave bytes
// are offered. It returns how many records were taken by somebody.
func (u *Upkeep) Leave(ctx context.Context) (handedOver int) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(u.ctx, cancel)()
	l := &leaving{Upkeep: u, heirs: make(map[routing.ID]*newcomer), slots: make(chan struct{}, leavesAtOnce), left: maxLeave}
	var watch sync.WaitGroup
	defer watch.Wait()
	defer cancel()
	watch.Go(func() { // where all leave at once nobody waits for the others
		for ctx.Err() == nil && l.somebodyStays() {
			select {
			case <-time.After(lookForOthers):
			case <-ctx.Done():
			}
		}
		cancel()
	})
	for _, nearest := range []bool{true, false} {
		_ = u.server.Records().Range(ctx, nil, func(key []byte, live []records.Record) bool {
			return wire.IsGatewayKey(key) || l.handOn(ctx, routing.IDFromBytes(key), key, live, nearest)
		})
	}
	l.sends.Wait()
	return l.taken
}

// somebodyStays reports whether there is anybody to hand something over to.
func (u *Upkeep) somebodyStays() bool {
	return slices.ContainsFunc(u.server.Table().All(), func(c routing.Contact) bool { return !c.IsErlang() && c.Confirmed() })
}

// leaving is a hand-over to the others that stay.
type leaving struct {
	*Upkeep
	heirs map[routing.ID]*newcomer
	slots chan struct{}
	sends sync.WaitGroup
	left  int // bytes

	mu    sync.Mutex
	taken int
}

// handOn hands the records of a key over if this node is the nearest of all that are
// known to it, or if it is not, as is wanted. It reports whether to go on.
func (l *leaving) handOn(ctx context.Context, id routing.ID, key []byte, live []records.Record, nearest bool) bool {
	contacts := l.server.Table().NearestPeers(id, routing.BucketSize)
	self := l.server.Self()
	if len(contacts) == 0 {
		return false
	}
	if nearest != id.Closer(self, contacts[0].ID) {
		return true
	}
	if len(contacts) == routing.BucketSize && !id.Closer(self, contacts[len(contacts)-1].ID) {
		return true // it is not for us to keep
	}
	heirs := l.heirsAmong(contacts)
	if len(heirs) == 0 {
		return true
	}
	for i := range live {
		if l.left -= len(heirs) * handOverBytes(key, &live[i]); l.left < 0 {
			return false
		}
		select {
		case l.slots <- struct{}{}:
		case <-ctx.Done():
			return false
		}
		l.sends.Go(func() {
			defer func() { <-l.slots }()
			l.send(ctx, heirs, key, live[i])
		})
	}
	return true
}

// heir is a contact that something is handed over to.
type heir struct {
	routing.Contact
	*newcomer
}

// heirsAmong returns the first handOverHolders contacts that are likely to take
// something.
func (l *leaving) heirsAmong(contacts []routing.Contact) (heirs []heir) {
	for _, c := range contacts {
		n := l.heirs[c.ID]
		if n == nil {
			n = new(newcomer)
			l.heirs[c.ID] = n
		}
		if c.Confirmed() && !n.leftAlone() && len(heirs) < handOverHolders {
			heirs = append(heirs, heir{c, n})
		}
	}
	return heirs
}

// send offers a record to its heirs, all at once.
func (l *leaving) send(ctx context.Context, heirs []heir, key []byte, r records.Record) {
	var offers sync.WaitGroup
	taken := make([]bool, len(heirs))
	for i, h := range heirs {
		offers.Go(func() { taken[i] = l.putCopy(ctx, h.newcomer, h.Contact, key, r) })
	}
	offers.Wait()
	for _, t := range taken {
		if t {
			l.mu.Lock()
			l.taken++
			l.mu.Unlock()
			return
		}
	}
}
