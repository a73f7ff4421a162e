package upkeep

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

const (
	// handOverHolders is how many of a record's holders hand it over, those
	// nearest to its key: one alone may be dead, and all of them would be too
	// many.
	handOverHolders = 3
	// handOverDraw is one in how many of the others hands it over as well: who chooses ids
	// is nearest to a key with three, and hands nothing over.
	handOverDraw = 8
	// handOversAtOnce is how many records are on their way at a time.
	handOversAtOnce = 8
	// callOverhead is about what the CALL around a record takes, in bytes.
	callOverhead = 192
	// maxHandOver is the most that a record takes of what is handed over a second.
	maxHandOver = values.MaxSize + wire.MaxField + wire.MaxProof + callOverhead
	// handOverAgain is how long it takes until a contact is a newcomer again:
	// one that comes and goes does not have us go through the store each time.
	handOverAgain = 10 * time.Minute
	// refillAfter is how long those are gathered that came back and may lack records:
	// the next one may go any moment.
	refillAfter = 250 * time.Millisecond
	// refills is how often one that comes back is served at once; from then on only
	// after handOverAgain, and after twice as long each time, up to maxRefillPause.
	refills        = 5
	maxRefillPause = 8 * handOverAgain
	// faultsAllowed is how many records a newcomer may turn away, or take its time
	// over, before it is left alone, and one more for each so many that it took:
	// the others wait for it.
	faultsAllowed = 16
	// slowAnswer is from when on a newcomer takes its time over a record.
	slowAnswer = lookup.DefaultSlow
	// lateAllowed is how much time a newcomer may take beyond promptAnswer a record,
	// over all, before it is served apart, so that it holds up nobody else.
	lateAllowed  = 15 * time.Second
	promptAnswer = 250 * time.Millisecond
	// restAfterScan is for how much longer than it was gone through, the store rests.
	restAfterScan = 10
	// maxNewcomers is how many newcomers are kept in mind, and how many are handed
	// something within a while: as many as a table holds.
	maxNewcomers = routing.IDBits * routing.BucketSize
)

// newcomer is one of those that a hand-over is to.
type newcomer struct {
	group  netip.Prefix // its IP group as it joined; the zero prefix for none
	taken  atomic.Int64 // records that it took at once
	faults atomic.Int64 // records that it turned away, or took its time over
	late   atomic.Int64 // nanoseconds beyond promptAnswer
	gone   atomic.Bool  // it was not reached
}

// leftAlone reports whether no more records are offered to it.
func (n *newcomer) leftAlone() bool {
	return n.gone.Load() || n.faults.Load() >= faultsAllowed+n.taken.Load()/faultsAllowed
}

// isSlow reports whether it would hold up the others.
func (n *newcomer) isSlow() bool { return time.Duration(n.late.Load()) >= lateAllowed }

// served is when a contact was last handed something, and how often lately.
type served struct {
	at      time.Time
	times   int
	storeID string
}

// noteNewcomers notes contacts that records may have to be handed over to, those
// that came back apart, and has those that were noted before looked at again.
func (u *Upkeep) noteNewcomers(joined, returned []routing.Contact) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, c := range joined {
		if s, lately := u.served[c.ID]; lately && s.storeID != string(c.StoreID) {
			returned = append(returned, c)
		} else if c.Verified && !c.IsErlang() && len(u.newcomers) < maxNewcomers {
			if _, noted := u.newcomers[c.ID]; !noted {
				u.newcomers[c.ID] = false
			}
		}
	}
	for _, c := range returned {
		if c.Verified && !c.IsErlang() && len(u.newcomers) < maxNewcomers {
			u.newcomers[c.ID] = true
		}
	}
	if len(u.newcomers) > 0 {
		signal(u.arrived)
		signal(u.returned)
	}
}

// signal puts a token into a channel, unless there is one.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// pause is how long it takes until one that came back is served again.
func (s served) pause() time.Duration {
	if s.times < refills {
		return 0
	}
	return min(handOverAgain<<(s.times-refills), maxRefillPause)
}

// over reports whether the contact may count as one that was never served.
func (s served) over(now time.Time) bool {
	return now.Sub(s.at) >= max(handOverAgain, 2*s.pause())
}

// due takes the newcomers that are still contacts and that nothing was handed
// over to lately, or those that have come back since; not too often either. Others
// wait, be it because there were too many of late, or are of their IP group. Those that come back again and
// again are served apart.
func (u *Upkeep) due(now time.Time, back bool) map[routing.ID]*newcomer {
	u.mu.Lock()
	defer u.mu.Unlock()
	maps.DeleteFunc(u.served, func(_ routing.ID, s served) bool { return s.over(now) })
	due := make(map[routing.ID]*newcomer)
	for id, isBack := range u.newcomers {
		c, there := u.server.Contact(id)
		if !there {
			delete(u.newcomers, id)
			continue
		}
		s, lately := u.served[id]
		isBack = isBack || lately && s.storeID != string(c.StoreID)
		if isBack != back || lately && (!isBack || now.Sub(s.at) < s.pause()) || !lately && len(u.served) >= maxNewcomers {
			continue
		}
		n := &newcomer{group: u.server.Group(c)}
		isApart := s.times >= refills
		if !isApart && !u.serving.take(n.group) {
			continue
		}
		delete(u.newcomers, id)
		u.served[id] = served{at: now, times: min(s.times+1, 2*refills), storeID: string(c.StoreID)}
		if isApart {
			u.setApart(one{id, n})
		} else {
			due[id] = n
		}
	}
	return due
}

// handOver hands records over to newcomers, those of a while in one go: to those that
// came back and may lack records, or to the others.
func (u *Upkeep) handOver(arrived <-chan struct{}, delay time.Duration, back bool) {
	slots := make(chan struct{}, handOversAtOnce)
	for {
		select {
		case <-u.ctx.Done():
			return
		case <-arrived:
		}
		if !u.sleep(delay) {
			return
		}
		due := u.due(time.Now(), back)
		if len(due) == 0 {
			continue
		}
		scan := u.handOverTo(u.ctx, due, slots, u.bytes)
		for id, n := range due {
			if n.isSlow() {
				u.mu.Lock()
				u.setApart(one{id, n})
				u.mu.Unlock()
			}
		}
		u.servedAll(due)
		if !u.sleep(restAfterScan * scan) {
			return
		}
	}
}

// handOverTo goes through the records once for all of some newcomers. That may
// take long; meanwhile nothing is locked, and kept are a page of keys and the records
// of one. It returns how long it took without the newcomers' part in it.
func (u *Upkeep) handOverTo(ctx context.Context, newcomers map[routing.ID]*newcomer, slots chan struct{}, bytes *rate.Limiter) (scan time.Duration) {
	var sends sync.WaitGroup
	defer sends.Wait()
	nearest := make([]routing.ID, 0, routing.BucketSize)
	offer := func(key []byte, live []records.Record) bool {
		if wire.IsGatewayKey(key) {
			return true // nobody takes it over libp2p
		}
		id := routing.IDFromBytes(key)
		nearest = u.server.Table().AppendNearestPeers(nearest[:0], id)
		for _, c := range u.receivers(id, nearest, newcomers) {
			n := newcomers[c.ID]
			for i := range live {
				slots <- struct{}{}
				if n.leftAlone() || n.isSlow() {
					<-slots
					break
				}
				if u.wait(ctx, bytes, handOverBytes(key, &live[i])) != nil {
					<-slots
					return false
				}
				sends.Go(func() {
					defer func() { <-slots }()
					u.putCopy(ctx, n, c, key, live[i])
				})
			}
		}
		return true
	}
	start := time.Now()
	var offers time.Duration
	err := u.server.Records().Range(ctx, nil, func(key []byte, live []records.Record) bool {
		from := time.Now()
		defer func() { offers += time.Since(from) }()
		return offer(key, live)
	})
	if err != nil && ctx.Err() == nil {
		u.counters.handOverFailures.Add(1)
	}
	return time.Since(start) - offers
}

// wait waits until so many bytes may be handed over, by all and by a part of them.
func (u *Upkeep) wait(ctx context.Context, part *rate.Limiter, n int) error {
	if part != u.bytes {
		if err := part.WaitN(ctx, n); err != nil {
			return err
		}
	}
	return u.bytes.WaitN(ctx, n)
}

// handOverBytes is what a record takes of what is handed over a second.
func handOverBytes(key []byte, r *records.Record) int {
	return len(key) + len(r.Value) + len(r.Envelope()) + callOverhead
}

// receivers returns the newcomers that are among the contacts nearest to a key, if
// it is for this node to hand its records over to them: it is one of the nearest of
// the others, or drawn, or so far away that it may be the only one that has them.
func (u *Upkeep) receivers(key routing.ID, nearest []routing.ID, newcomers map[routing.ID]*newcomer) []routing.Contact {
	var receivers []routing.Contact
	nearer, farther := 0, 0
	self := u.server.Self()
	for _, id := range nearest {
		switch _, isNew := newcomers[id]; {
		case isNew:
			if c, there := u.server.Contact(id); there {
				receivers = append(receivers, c)
			}
		case key.Closer(id, self):
			nearer++
		default:
			farther++
		}
	}
	if nearer >= handOverHolders && farther > 0 && len(receivers) > 0 && !u.cfg.isDrawn() {
		return nil
	}
	return receivers
}

// putCopy has a contact keep a record for what is left of its life, and reports
// whether it does.
func (u *Upkeep) putCopy(ctx context.Context, n *newcomer, c routing.Contact, key []byte, r records.Record) bool {
	start := time.Now()
	left := int64(r.Expires.Sub(start) / time.Second)
	if left < 1 {
		return false
	}
	id := make([]byte, 16)
	rand.Read(id) // never fails
	args := procedures.StoreArgs{Key: key, Value: r.Value, ExpiresIn: wire.Some(left), Proof: r.Envelope()}
	_, err := u.lookups.Query(ctx, c, &wire.Call{Procedure: wire.ProcedureStore, Args: args.Raw(), CallID: id})
	var remote *proto.RemoteError
	switch {
	case err == nil:
		u.counters.handedOver.Add(1)
		u.cfg.tracer.HandedOver(true)
	case ctx.Err() != nil:
		return false
	default:
		u.counters.handOverFailures.Add(1)
		u.cfg.tracer.HandedOver(false)
	}
	n.late.Add(int64(max(0, time.Since(start)-promptAnswer)))
	// Neither says anything of the newcomer, be it that it keeps less than it was offered.
	hasOther := []string{wire.CodeNotOwner, wire.CodeKeyFull, wire.CodeSuperseded}
	switch wanted := !errors.As(err, &remote) || !slices.Contains(hasOther, remote.Code); {
	case err != nil && remote == nil:
		n.gone.Store(true)
	case err != nil && wanted, time.Since(start) >= slowAnswer:
		n.faults.Add(1)
	default:
		n.taken.Add(1)
	}
	return err == nil
}
