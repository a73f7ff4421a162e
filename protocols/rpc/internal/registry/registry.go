// Package registry knows which streams have registered which procedures.
package registry

import (
	"slices"
	"sync"

	"github.com/macula-mesh/macula-node/internal/fair"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// Registry is a bounded number of registrations. It is safe for concurrent use.
type Registry struct {
	perStream int

	mu      sync.Mutex
	of      map[string][]*server.Peer // by procedure, the newest last
	by      map[*server.Peer]map[string]*fair.Item[registration]
	entries *fair.Queue[registration]
}

type registration struct {
	by        *server.Peer
	procedure string
	end       func()
}

// New returns an empty registry for so many registrations, and of one stream.
func New(most, perStream int) *Registry {
	return &Registry{
		perStream: perStream,
		of:        make(map[string][]*server.Peer), by: make(map[*server.Peer]map[string]*fair.Item[registration]),
		entries: fair.New[registration](most, fair.Unlimited),
	}
}

// Add notes that a stream serves a procedure, and reports whether that is new, and may be:
// of too many the newest of who has most give way. It calls begin then, and what that
// returns when the registration ends, be it for another's. Neither may call the registry.
func (r *Registry) Add(p *server.Peer, procedure string, begin func() (end func())) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	own := r.by[p]
	if own[procedure] != nil || len(own) >= r.perStream {
		return false
	}
	entry := r.entries.Add(p.Session().Payer(), registration{by: p, procedure: procedure}, 1)
	out := r.entries.GiveWay(entry, false)
	if out == entry {
		return false
	}
	if own == nil {
		own = make(map[string]*fair.Item[registration])
		r.by[p] = own
	}
	own[procedure] = entry
	r.of[procedure] = append(r.of[procedure], p)
	entry.Value.end = begin()
	if out != nil {
		r.remove(out.Value)
	}
	return true
}

// remove takes a stream from those that serve a procedure. r.mu is held.
func (r *Registry) remove(gone registration) {
	if delete(r.by[gone.by], gone.procedure); len(r.by[gone.by]) == 0 {
		delete(r.by, gone.by)
	}
	r.of[gone.procedure] = slices.DeleteFunc(r.of[gone.procedure], func(o *server.Peer) bool { return o == gone.by })
	if len(r.of[gone.procedure]) == 0 {
		delete(r.of, gone.procedure)
	}
	gone.end()
}

// End forgets what a stream has registered, which has ended.
func (r *Registry) End(p *server.Peer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, entry := range r.by[p] {
		r.entries.Leave(entry)
		r.remove(entry.Value)
	}
}

// Find returns the newest stream that has registered a procedure and fits, nil for none.
// Who registers from elsewhere what somebody serves already is asked when that one has gone.
func (r *Registry) Find(procedure string, fits func(*server.Peer) bool) *server.Peer {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.of[procedure]
	for _, p := range slices.Backward(all) {
		if p.Session().Source() == all[0].Session().Source() && fits(p) {
			return p
		}
	}
	return nil
}

// Len returns how many registrations there are.
func (r *Registry) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.entries.Weight()
}
