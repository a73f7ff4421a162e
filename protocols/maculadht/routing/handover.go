package routing

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
)

const (
	// handOverHolders is how many of a record's holders hand it over, those
	// nearest to its key: one alone may be dead, and all of them would be too
	// many.
	handOverHolders = 3
	// handOversAtOnce is how many records are on their way at a time.
	handOversAtOnce = 8
	// maxHandOver is more than a record costs of what is handed over a second.
	maxHandOver = wire.MaxValue + wire.MaxField + RecordOverhead
)

// welcome notes contacts that records may have to be handed over to.
func (u *Upkeep) welcome(joined []Contact) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, c := range joined {
		if c.Verified && !c.IsErlang() {
			u.newcomers[c.ID] = c
		}
	}
	if len(u.newcomers) > 0 {
		select {
		case u.arrived <- struct{}{}:
		default:
		}
	}
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
		u.mu.Lock()
		newcomers := u.newcomers
		u.newcomers = make(map[ID]Contact)
		u.mu.Unlock()
		u.handOverTo(newcomers)
	}
}

// handOverTo goes through the store once for all of some newcomers.
func (u *Upkeep) handOverTo(newcomers map[ID]Contact) {
	var sends sync.WaitGroup
	defer sends.Wait()
	var unreached sync.Map // ids of newcomers that are gone again
	slots := make(chan struct{}, handOversAtOnce)
	now := time.Now()
	err := u.server.records.Range(nil, func(key []byte, recs []Record) bool {
		live, _ := split(recs, now)
		if len(live) == 0 {
			return u.ctx.Err() == nil
		}
		key = append([]byte(nil), key...) // it is ours during the call only
		for _, c := range u.heirs(IDFromBytes(key), newcomers) {
			for i := range live {
				if _, gone := unreached.Load(c.ID); gone {
					break
				}
				if u.bytes.WaitN(u.ctx, int(cost(key, &live[i]))) != nil {
					return false
				}
				slots <- struct{}{}
				sends.Go(func() {
					defer func() { <-slots }()
					if err := u.putCopy(c, key, live[i]); errors.Is(err, ErrUnreachable) {
						unreached.Store(c.ID, nil)
					}
				})
			}
		}
		return u.ctx.Err() == nil
	})
	if err != nil {
		u.server.counters.handOverFailures.Add(1)
	}
}

// heirs returns the newcomers that are among the contacts nearest to a key, if it
// is for this node to hand its records over to them: it is one of the nearest of
// the others, or so far away that it may be the only one that has them.
func (u *Upkeep) heirs(key ID, newcomers map[ID]Contact) []Contact {
	var heirs []Contact
	nearer, farther := 0, 0
	self := u.server.Self()
	for _, c := range u.server.table.nearest(key, BucketSize, (*Contact).IsErlang) {
		switch _, isNew := newcomers[c.ID]; {
		case isNew:
			heirs = append(heirs, c)
		case key.Closer(c.ID, self):
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
func (u *Upkeep) putCopy(c Contact, key []byte, r Record) error {
	left := int64(time.Until(r.Expires) / time.Second)
	if left < 1 {
		return nil
	}
	ctx, cancel := context.WithTimeout(u.ctx, u.lookups.cfg.query)
	defer cancel()
	id := make([]byte, 16)
	rand.Read(id) // never fails
	args := wire.StoreArgs{Key: key, Value: r.Value, ExpiresIn: wire.Some(left)}
	_, err := u.network.Query(ctx, c, &wire.Call{Procedure: wire.ProcedureStore, Args: args.Raw(), CallID: id})
	if err != nil {
		u.server.counters.handOverFailures.Add(1)
		return err
	}
	u.server.counters.handedOver.Add(1)
	return nil
}
