package resolver

import (
	"time"

	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// Follower has other nodes tell when the records of a key change.
type Follower interface {
	// Follow has them call changed whenever that may be, until what it returns is closed;
	// changed returns at once. Where it can not be done it returns nil. It returns at once,
	// and calls changed from another goroutine.
	Follow(key []byte, changed func()) Following
}

// Following is one key that is followed. Its methods return at once.
type Following interface {
	// Looked says what a lookup of the key came to: which contacts are the nearest to it
	// now, who are to tell, and whether what others have of it has changed, or was renewed.
	Looked(closest []routing.Contact, change bool)
	// Close ends it, in the background.
	Close()
}

// refreshApart is the least time between two lookups of a key that others say has changed.
const refreshApart = time.Second

// SetFollower has what was found be followed, as far as Limits allow, while it is remembered,
// and looked up again when it has changed; without it, or with nil, and beyond the limits
// it is looked up again when its time comes.
func (r *Resolver) SetFollower(f Follower) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.follower = f
	if f == nil {
		for _, e := range r.keys {
			r.unfollow(e)
		}
	}
}

// follow has an entry followed that was found at nodes of which closest are the nearest, be
// it that it has changed.
func (r *Resolver) follow(e *entry, closest []routing.Contact, change bool) {
	if e.following == nil && r.follower != nil && !r.closed {
		if _, ok := r.followed.take(e.by); !ok {
			return
		}
		if e.following = r.follower.Follow([]byte(e.key), func() { r.changed(e) }); e.following == nil {
			r.followed.give(e.by)
			return
		}
		e.followedBy = e.by
	}
	if e.following != nil {
		e.following.Looked(closest, change)
	}
}

// unfollow has an entry be followed no more.
func (r *Resolver) unfollow(e *entry) {
	e.stale = false
	if e.following == nil {
		return
	}
	e.following.Close()
	e.following = nil
	r.followed.give(e.followedBy)
}

// changed is told that what is stored under an entry's key may have changed. It is looked up
// again soon, if it is still asked for.
func (r *Resolver) changed(e *entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.keys[e.key] != e || e.following == nil || e.stale {
		return
	}
	e.stale = true
	if e.search == nil { // else the end of that sees to it
		e.timer.Reset(e.refreshIn(time.Now()))
	}
}

// refreshIn returns in what time an entry that has changed may be looked up.
func (e *entry) refreshIn(now time.Time) time.Duration {
	return max(0, e.began.Add(refreshApart).Sub(now))
}
