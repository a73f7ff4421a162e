package routing

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

const (
	// handOverHolders is how many of a record's holders hand it over, those
	// nearest to its key: one alone may be dead, and all of them would be too
	// many.
	handOverHolders = 3
	// handOversAtOnce is how many records are on their way at a time.
	handOversAtOnce = 8
	// callOverhead is about what the CALL around a record takes, in bytes.
	callOverhead = 192
	// maxHandOver is the most that a record takes of what is handed over a second.
	maxHandOver = wire.MaxValue + wire.MaxField + callOverhead
	// handOverAgain is how long it takes until a contact is a newcomer again:
	// one that comes and goes does not have us go through the store each time.
	handOverAgain = 10 * time.Minute
	// patience is how many records a newcomer may turn away, or take its time
	// over, before it is left alone, and one more for each so many that it took:
	// the others wait for it.
	patience = 16
)

// heir is a newcomer in one hand-over.
type heir struct {
	taken   atomic.Int64 // records that it took at once
	trouble atomic.Int64 // records that it turned away, or took its time over
	gone    atomic.Bool  // it was not reached
}

// leftAlone reports whether no more records are offered to it.
func (h *heir) leftAlone() bool {
	return h.gone.Load() || h.trouble.Load() >= patience+h.taken.Load()/patience
}

// welcome notes contacts that records may have to be handed over to, and has
// those that were noted before looked at again.
func (u *Upkeep) welcome(joined []Contact) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, c := range joined {
		if c.Verified && !c.IsErlang() && len(u.newcomers) < maxNews {
			u.newcomers[c.ID] = struct{}{}
		}
	}
	if len(u.newcomers) > 0 {
		select {
		case u.arrived <- struct{}{}:
		default:
		}
	}
}

// due takes the newcomers that are still contacts and that nothing was handed
// over to lately. Others wait, be it because there were too many of late.
func (u *Upkeep) due(now time.Time) map[ID]*heir {
	u.mu.Lock()
	defer u.mu.Unlock()
	maps.DeleteFunc(u.served, func(_ ID, at time.Time) bool { return now.Sub(at) >= handOverAgain })
	due := make(map[ID]*heir)
	for id := range u.newcomers {
		if _, there := u.server.Contact(id); !there {
			delete(u.newcomers, id)
			continue
		}
		if _, lately := u.served[id]; lately || len(u.served) >= maxNews {
			continue
		}
		delete(u.newcomers, id)
		u.served[id] = now
		due[id] = new(heir)
	}
	return due
}

// handOver hands records over to newcomers, those of a while in one go.
func (u *Upkeep) handOver() {
	for {
		select {
		case <-u.ctx.Done():
			return
		case <-u.arrived:
		}
		if !u.sleep(u.cfg.handOverDelay) {
			return
		}
		if due := u.due(time.Now()); len(due) > 0 {
			u.handOverTo(due)
		}
	}
}

// handOverTo goes through the records once for all of some newcomers. That may
// take long; meanwhile nothing is locked, and kept are a page of keys and the records
// of one.
func (u *Upkeep) handOverTo(newcomers map[ID]*heir) {
	var sends sync.WaitGroup
	defer sends.Wait()
	slots := make(chan struct{}, handOversAtOnce)
	near := nearest{limit: BucketSize, skip: (*Contact).IsErlang, found: make([]candidate, 0, BucketSize)}
	err := u.server.records.Range(u.ctx, nil, func(key []byte, live []records.Record) bool {
		for _, c := range u.heirs(IDFromBytes(key), newcomers, &near) {
			h := newcomers[c.ID]
			for i := range live {
				slots <- struct{}{}
				if h.leftAlone() {
					<-slots
					break
				}
				if u.bytes.WaitN(u.ctx, handOverBytes(key, &live[i])) != nil {
					return false
				}
				sends.Go(func() {
					defer func() { <-slots }()
					u.putCopy(h, c, key, live[i])
				})
			}
		}
		return true
	})
	if err != nil && u.ctx.Err() == nil {
		u.server.counters.handOverFailures.Add(1)
	}
}

// handOverBytes is what a record takes of what is handed over a second.
func handOverBytes(key []byte, r *records.Record) int { return len(key) + len(r.Value) + callOverhead }

// heirs returns the newcomers that are among the contacts nearest to a key, if it
// is for this node to hand its records over to them: it is one of the nearest of
// the others, or so far away that it may be the only one that has them. It works
// in near, as there are many keys.
func (u *Upkeep) heirs(key ID, newcomers map[ID]*heir, near *nearest) []Contact {
	near.target, near.found = key, near.found[:0]
	u.server.table.collect(near)
	var heirs []Contact
	nearer, farther := 0, 0
	self := u.server.Self()
	for _, f := range near.found {
		switch _, isNew := newcomers[f.contact.ID]; {
		case isNew:
			heirs = append(heirs, *f.contact)
		case key.Closer(f.contact.ID, self):
			nearer++
		default:
			farther++
		}
	}
	if nearer >= handOverHolders && farther > 0 {
		return nil
	}
	return heirs
}

// putCopy has a contact keep a record for what is left of its life.
func (u *Upkeep) putCopy(h *heir, c Contact, key []byte, r records.Record) {
	start := time.Now()
	left := int64(r.Expires.Sub(start) / time.Second)
	if left < 1 {
		return
	}
	ctx, cancel := context.WithTimeout(u.ctx, u.cfg.query)
	defer cancel()
	id := make([]byte, 16)
	rand.Read(id) // never fails
	args := wire.StoreArgs{Key: key, Value: r.Value, ExpiresIn: wire.Some(left)}
	_, err := u.lookups.query(ctx, c, &wire.Call{Procedure: wire.ProcedureStore, Args: args.Raw(), CallID: id})
	var remote *proto.RemoteError
	switch {
	case err == nil:
		u.server.counters.handedOver.Add(1)
		u.cfg.tracer.HandedOver(true)
	case u.ctx.Err() != nil:
		return
	default:
		u.server.counters.handOverFailures.Add(1)
		u.cfg.tracer.HandedOver(false)
	}
	switch owned := errors.As(err, &remote) && remote.Code == wire.CodeNotOwner; {
	case err != nil && remote == nil:
		h.gone.Store(true)
	case err != nil && !owned, time.Since(start) >= u.cfg.slow:
		h.trouble.Add(1)
	default:
		h.taken.Add(1)
	}
}
