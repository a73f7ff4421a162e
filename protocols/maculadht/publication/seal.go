package publication

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/replication"
)

// withdrawWithin is how long Withdraw waits for the holders of a record to drop it.
const withdrawWithin = 5 * time.Second

// sequence gives what is sealed its time: that of the clock, and later than what was
// sealed before.
type sequence struct {
	mu   sync.Mutex
	last int64 // in ms
}

func (s *sequence) next() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = max(s.last+1, time.Now().UnixMilli())
	return time.UnixMilli(s.last)
}

// raise has what follows be later than what has a sequence number. It reports whether it
// would not be without.
func (s *sequence) raise(to int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if to <= s.last {
		return false
	}
	s.last = to
	return true
}

// seal adds a proof to a copy of which this node is the provider.
func (p *Publisher) seal(c replication.Copy) (replication.Copy, error) {
	if !p.proves(c.Value) {
		return c, nil
	}
	return p.sealAt(c, p.sequence.next())
}

func (p *Publisher) sealAt(c replication.Copy, at time.Time) (replication.Copy, error) {
	var err error
	c.Proof, err = p.cfg.Signer.Seal(c.Key, c.Value.Raw, at, at.Add(c.Value.TTL))
	return c, err
}

// proves reports whether this node is a value's provider, and can prove it.
func (p *Publisher) proves(v values.Value) bool {
	if p.cfg.Signer == nil {
		return false
	}
	id := p.cfg.Signer.NodeID()
	return bytes.Equal(v.NodeID, id[:])
}

// catchUp has what is sealed be newer than this node's own record under a key: a clock
// may have been set back since that was stored. It reports whether there is such a one.
func (p *Publisher) catchUp(ctx context.Context, key []byte) bool {
	values, tombstones, err := p.cfg.Routing.Records().Records(ctx, key, time.Now())
	if err != nil {
		return false
	}
	id := p.cfg.Signer.NodeID()
	raised := false
	for _, r := range append(values, tombstones...) {
		if r.Proof != nil && bytes.Equal(r.NodeID, id[:]) {
			raised = p.sequence.raise(r.Proof.Sequence) || raised
		}
	}
	return raised
}

// withdraw ends a publication and has its record be gone, see retract; p.mu is held, and
// the publisher is not closed.
func (p *Publisher) withdraw(pub *publication) {
	p.end(pub)
	if !p.proves(pub.base) {
		return
	}
	at := p.sequence.next() // before that of whoever advertises the same again
	retracted := make(chan struct{})
	pub.retracted = retracted
	p.tasks.Go(func() {
		defer close(retracted)
		<-pub.done
		p.retract(pub, at)
	})
}

// retract has a record that was withdrawn be gone here and at its holders, as its
// provider, this node, can prove that it is. Whoever is not reached has it until its ttl
// is over; readers who meet another holder are told.
func (p *Publisher) retract(pub *publication, at time.Time) {
	ctx, cancel := context.WithTimeout(p.ctx, withdrawWithin)
	defer cancel()
	value := values.Value{NodeID: pub.base.NodeID, TTL: pub.base.TTL}
	c, err := p.sealAt(replication.Copy{Key: pub.key, Value: value, PeersOnly: true}, at)
	if err != nil {
		p.noteStays(pub, err)
		return
	}
	if last, _ := pub.lastOf(); last != nil {
		c.Also = last.Acknowledged
	}
	var there sync.WaitGroup
	defer there.Wait()
	if p.hasMet() {
		there.Go(func() { _, _ = p.replicate(ctx, c) })
	}
	if err := p.store(ctx, c); err != nil && !errors.Is(err, records.ErrSuperseded) && p.ctx.Err() == nil {
		p.noteStays(pub, err)
	}
}

// noteStays logs that a withdrawn record is not gone here.
func (p *Publisher) noteStays(pub *publication, err error) {
	p.cfg.Log.Warn("a withdrawn record stays here until its ttl is over", "key", fmt.Sprintf("%x", pub.key), "err", err)
}
