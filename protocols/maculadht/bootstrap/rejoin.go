package bootstrap

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

const (
	rejoinAtOnce = 4                // kept contacts that are tried at a time
	rejoinEnough = 8                // of them that answer: the table is filled through those
	rejoinDial   = 10 * time.Second // how long an attempt may take
	lastKeep     = 2 * time.Second  // how long it may take to keep contacts at the end
)

// comeBack joins through the contacts that were kept before the restart, and keeps the
// best from then on. While nobody is known they are tried again, with a growing pause.
func (j *Joiner) comeBack() {
	before := len(j.keeper.all)
	if before > 0 {
		j.cfg.Log.Info("joining through contacts of before the restart", "contacts", before)
	}
	pause := j.cfg.Retries.First
	for len(j.keeper.all) > 0 && !j.hasPeer() && !j.tryKept() {
		j.cfg.Log.Debug("no contact of before the restart answers", "again_in", pause)
		if !j.wait(spread(pause)) {
			return
		}
		pause = min(2*pause, j.cfg.Retries.Last)
	}
	close(j.back)
	soon := j.joined
	if before > 0 {
		soon = nil // there are some yet
	}
	for {
		every := keepEvery
		if len(j.keeper.all) == 0 {
			every = keepFirst
		}
		select {
		case <-soon:
		case <-time.After(every):
		case <-j.ctx.Done():
			return
		}
		soon = nil
		if err := j.keep(j.ctx); err != nil && j.ctx.Err() == nil {
			j.cfg.Log.Warn("the newest contacts are not kept for after a restart, and tried again", "again_in", keepEvery, "err", err)
		}
	}
}

// wait waits, and reports whether the joiner is not closed.
func (j *Joiner) wait(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-j.ctx.Done():
		return false
	}
}

// hasPeer reports whether there is a contact over libp2p.
func (j *Joiner) hasPeer() bool {
	return slices.ContainsFunc(j.cfg.Contacts.Contacts(), func(c routing.Contact) bool { return !c.IsErlang() })
}

// tryKept tries the kept contacts, those first that answered last, until enough have
// answered, and reports whether somebody is known then: those that did not answer have
// missed this start. One that serves another realm is forgotten.
func (j *Joiner) tryKept() bool {
	results := j.meetKept()
	if j.ctx.Err() != nil {
		return false
	}
	answered, missed := 0, 0
	now, known := time.Now(), j.hasPeer()
	j.keeper.all = slices.DeleteFunc(j.keeper.all, func(c kept) bool {
		err, tried := results[c.info.ID]
		return tried && errors.Is(err, proto.ErrRealmMismatch)
	})
	for i := range j.keeper.all {
		c := &j.keeper.all[i]
		switch err, tried := results[c.info.ID]; {
		case !tried:
		case err == nil:
			c.answered, c.missed = now, 0
			answered++
		case known: // else it is likelier that this node is cut off
			c.missed++
			missed++
		}
	}
	if answered > 0 {
		j.cfg.Log.Info("contacts of before the restart answered", "answered", answered, "silent", missed)
	}
	j.keeper.all = slices.DeleteFunc(j.keeper.all, func(c kept) bool { return c.missed >= maxMissed })
	return known || answered > 0
}

// meetKept tries the kept contacts, and returns what came of those that were tried.
func (j *Joiner) meetKept() map[peer.ID]error {
	var tries sync.WaitGroup
	var mu sync.Mutex
	results, answered := make(map[peer.ID]error), 0
	enough := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return answered >= rejoinEnough
	}
	slots := make(chan struct{}, rejoinAtOnce)
	for _, c := range j.keeper.all {
		slots <- struct{}{}
		if j.ctx.Err() != nil || enough() {
			break
		}
		tries.Go(func() {
			defer func() { <-slots }()
			ctx, cancel := context.WithTimeout(j.ctx, rejoinDial)
			defer cancel()
			err := j.meet(ctx, c.info)
			if err == nil {
				j.hasAnswered()
			} else {
				j.cfg.Log.Debug("a contact of before the restart does not answer", "peer", c.info.ID, "err", err)
			}
			mu.Lock()
			defer mu.Unlock()
			if results[c.info.ID] = err; err == nil {
				answered++
			}
		})
	}
	tries.Wait()
	return results
}

// keep has the best contacts in the state.
func (j *Joiner) keep(ctx context.Context) error {
	now := time.Now()
	j.keeper.update(j.cfg.Contacts.Contacts(), now)
	return j.keeper.write(ctx, now)
}

// keepLast has the best contacts in the state when the joiner is closed.
func (j *Joiner) keepLast() {
	ctx, cancel := context.WithTimeout(context.Background(), lastKeep)
	defer cancel()
	if err := j.keep(ctx); err != nil {
		j.cfg.Log.Warn("the newest contacts are not kept for after a restart", "err", err)
	}
}
