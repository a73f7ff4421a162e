package bootstrap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/internal/budget"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/addressing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/state"
)

// Which contacts are kept for after a restart.
const (
	maxKept      = 64
	keptPerGroup = 4 // with an address in one IP group
	keptAddrs    = 8 // of one contact
	// answeredLately is how long ago a contact's last answer may be.
	answeredLately = time.Hour
	// maxMissed is in how many starts a kept contact may leave us without an answer,
	// while others answer, until it is forgotten.
	maxMissed = 3

	keepEvery    = time.Minute      // how often it is looked whether others are to be kept
	keepFirst    = 5 * time.Second  // and while there are none
	rewriteAfter = 10 * time.Minute // when only the times of their answers are new
)

// kept is a contact that is kept for after a restart.
type kept struct {
	info     peer.AddrInfo
	since    time.Time // when it was a good one for the first time
	answered time.Time // when it answered last
	missed   int       // in how many starts it has not answered since
}

// keptEntry is a kept contact as it is in the state: a map in the dialect.
type keptEntry struct {
	Peer     []byte   `macula:"peer"`
	Addrs    [][]byte `macula:"addrs"`    // multiaddrs
	Since    int64    `macula:"since"`    // seconds since 1970
	Answered int64    `macula:"answered"` // as well
	Missed   int      `macula:"missed"`
}

// keptKey is the one key of the state: all contacts are written at once.
var keptKey = []byte("kept")

// keeper keeps the best contacts in a state. Its methods are called by one goroutine at
// a time.
type keeper struct {
	state state.State
	self  routing.ID

	all     []kept
	written []byte    // what was written last, but for the times of the last answers
	at      time.Time // when it was
}

// load reads what was kept before the restart.
func (k *keeper) load(ctx context.Context) error {
	var entries []keptEntry
	var unread error
	err := k.state.Entries(ctx, func(key, value []byte) bool {
		if !bytes.Equal(key, keptKey) {
			return true
		}
		unread = wire.Unmarshal(bytes.Clone(value), &entries)
		return false
	})
	if err = errors.Join(err, unread); err != nil {
		return fmt.Errorf("entry contacts/%s: %w", keptKey, err)
	}
	for _, e := range entries[:min(len(entries), maxKept)] {
		id, err := peer.IDFromBytes(e.Peer)
		if err != nil || e.Missed < 0 || e.Missed >= maxMissed {
			continue
		}
		c := kept{info: peer.AddrInfo{ID: id}, since: wire.TimeOfSeconds(e.Since), answered: wire.TimeOfSeconds(e.Answered), missed: e.Missed}
		for _, b := range e.Addrs[:min(len(e.Addrs), keptAddrs)] {
			if a, err := addressing.DecodeAddr(b); err == nil {
				c.info.Addrs = append(c.info.Addrs, a)
			}
		}
		if len(c.info.Addrs) > 0 {
			k.all = append(k.all, c)
		}
	}
	slices.SortFunc(k.all, func(a, b kept) int { return b.answered.Compare(a.answered) })
	k.written, err = encode(k.all, false)
	k.at = time.Now()
	return err
}

// update keeps the best of some contacts, and of those that are kept already as many as
// there is room for.
func (k *keeper) update(contacts []routing.Contact, now time.Time) {
	good := make([]kept, 0, len(contacts))
	for _, c := range contacts {
		if c.IsErlang() || !c.Confirmed() || len(c.Addrs) == 0 || now.Sub(c.Answered) > answeredLately {
			continue
		}
		since := now
		if i := k.index(c.Peer); i >= 0 {
			since = k.all[i].since
		}
		addrs := c.Addrs[:min(len(c.Addrs), keptAddrs)]
		good = append(good, kept{info: peer.AddrInfo{ID: c.Peer, Addrs: addrs}, since: since, answered: c.Answered})
	}
	old := slices.DeleteFunc(slices.Clone(k.all), func(o kept) bool {
		return slices.ContainsFunc(good, func(c kept) bool { return c.info.ID == o.info.ID })
	})
	k.all = choose(choose(nil, good, k.self), old, k.self)
}

// index returns where a peer is among those that are kept, or -1.
func (k *keeper) index(p peer.ID) int {
	return slices.IndexFunc(k.all, func(c kept) bool { return c.info.ID == p })
}

// choose adds the best of some to those that are chosen already, up to maxKept: from
// each bucket in turn the one that is known for longest, unless its IP group has enough.
func choose(chosen, from []kept, self routing.ID) []kept {
	groups := make(map[string]int)
	for _, c := range chosen {
		for g := range c.groups() {
			groups[g]++
		}
	}
	buckets := make([][]kept, routing.IDBits+1)
	for _, c := range from {
		b := self.CommonPrefixLen(routing.IDFromPeer(c.info.ID))
		buckets[b] = append(buckets[b], c)
	}
	for _, bucket := range buckets {
		slices.SortFunc(bucket, func(a, b kept) int {
			if by := a.since.Compare(b.since); by != 0 {
				return by
			}
			return b.answered.Compare(a.answered)
		})
	}
	for left := len(from); left > 0 && len(chosen) < maxKept; {
		for i := range buckets {
			if len(buckets[i]) == 0 || len(chosen) == maxKept {
				continue
			}
			c := buckets[i][0]
			buckets[i] = buckets[i][1:]
			left--
			if of := c.groups(); hasRoom(groups, of) {
				chosen = append(chosen, c)
				for g := range of {
					groups[g]++
				}
			}
		}
	}
	return chosen
}

func hasRoom(groups map[string]int, of map[string]struct{}) bool {
	for g := range of {
		if groups[g] >= keptPerGroup {
			return false
		}
	}
	return true
}

// groups returns the IP groups that a contact's addresses are in: none for private
// ones. Those that have names and relays alone are one group.
func (c *kept) groups() map[string]struct{} {
	of, seen := make(map[string]struct{}), false
	for _, a := range c.info.Addrs {
		ip := addressing.AddrPortOf(a).Addr()
		if !ip.IsValid() {
			continue
		}
		seen = true
		if g := budget.SourceOfAddr(ip).Group; g != "" {
			of[g] = struct{}{}
		}
	}
	if !seen {
		of["no IP address"] = struct{}{}
	}
	return of
}

// write writes what is kept, if it is not what was written last but for the times of the
// last answers, or those are old.
func (k *keeper) write(ctx context.Context, now time.Time) error {
	what, err := encode(k.all, false)
	if err != nil {
		return err
	}
	if bytes.Equal(what, k.written) && (len(k.all) == 0 || now.Sub(k.at) < rewriteAfter) {
		return nil
	}
	value, err := encode(k.all, true)
	if err == nil {
		err = k.state.Put(ctx, keptKey, value)
	}
	if err != nil {
		return fmt.Errorf("keep contacts for after a restart: %w", err)
	}
	k.written, k.at = what, now
	return nil
}

// encode returns contacts as they are in the state, in the order of their peer ids.
func encode(all []kept, withAnswers bool) ([]byte, error) {
	entries := make([]keptEntry, 0, len(all))
	for _, c := range all {
		e := keptEntry{Peer: []byte(c.info.ID), Addrs: addressing.EncodeAddrs(c.info.Addrs), Since: c.since.Unix(), Missed: c.missed}
		if withAnswers {
			e.Answered = c.answered.Unix()
		}
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b keptEntry) int { return bytes.Compare(a.Peer, b.Peer) })
	return wire.Marshal(entries)
}
