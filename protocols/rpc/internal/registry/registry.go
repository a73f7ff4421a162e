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
}

// New returns an empty registry for so many registrations, and of one stream.
func New(most, perStream int) *Registry {
	return &Registry{
		perStream: perStream,
		of:        make(map[string][]*server.Peer), by: make(map[*server.Peer]map[string]*fair.Item[registration]),
		entries: fair.New[registration](most, fair.Unlimited),
	}
}

// Added is what came of a registration.
type Added struct {
	IsNew   bool   // the stream had not registered it, and has now
	IsFirst bool   // nobody else has
	GaveWay string // a procedure that nobody serves any more for it; empty for none
}

// Add notes that a stream serves a procedure. Where there are too many the newest of who
// has most gives way.
func (r *Registry) Add(p *server.Peer, procedure string) (a Added) {
	r.mu.Lock()
	defer r.mu.Unlock()
	own := r.by[p]
	if own[procedure] != nil || len(own) >= r.perStream {
		return Added{}
	}
	entry := r.entries.Add(p.Session().Payer(), registration{p, procedure}, 1)
	out := r.entries.GiveWay(entry, false)
	if out == entry {
		return Added{}
	}
	if own == nil {
		own = make(map[string]*fair.Item[registration])
		r.by[p] = own
	}
	own[procedure] = entry
	a.IsNew, a.IsFirst = true, len(r.of[procedure]) == 0
	r.of[procedure] = append(r.of[procedure], p)
	if out != nil && r.remove(out.Value) {
		a.GaveWay = out.Value.procedure
	}
	return a
}

// remove takes a stream from those that serve a procedure, and reports whether it was the
// last. r.mu is held.
func (r *Registry) remove(gone registration) bool {
	if delete(r.by[gone.by], gone.procedure); len(r.by[gone.by]) == 0 {
		delete(r.by, gone.by)
	}
	left := slices.DeleteFunc(r.of[gone.procedure], func(o *server.Peer) bool { return o == gone.by })
	if len(left) > 0 {
		r.of[gone.procedure] = left
		return false
	}
	delete(r.of, gone.procedure)
	return true
}

// End forgets a stream that has ended, and returns the procedures of which it was the last.
func (r *Registry) End(p *server.Peer) (gone []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for procedure, entry := range r.by[p] {
		r.entries.Leave(entry)
		if r.remove(registration{p, procedure}) {
			gone = append(gone, procedure)
		}
	}
	return gone
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
