// Package publication keeps this node's own values in the network: it stores one here
// and on the nodes nearest to its key, once or again and again until it is withdrawn.
package publication

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"golang.org/x/time/rate"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/signed"
	"github.com/macula-mesh/macula-node/protocols/maculadht/replication"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/addressing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
	"github.com/macula-mesh/macula-node/protocols/maculadht/state"
)

// ErrNotKept: this node's own store did not take a value; with it is why.
var ErrNotKept = errors.New("not kept on this node")

// Node tells where this node is.
type Node interface {
	// AddrsFor and EndpointFor return its addresses and its endpoint within reach.
	AddrsFor(addressing.Reach) []ma.Multiaddr
	EndpointFor(addressing.Reach) string
}

// Config is what a Publisher works with.
type Config struct {
	Routing *routing.Server
	Lookups *lookup.Lookups
	Network routing.Network
	// Peer and Node are what the records of services name.
	Peer peer.ID
	Node Node
	// Signer proves the records that name this node as their provider; nil for none.
	Signer *signed.Signer
	// Published is told of each publication of an advertisement, with how many peers
	// acknowledged it.
	Published func(acknowledged int, err error)
	// State keeps the advertisements over a restart; nil for nothing that does.
	State state.State
	Log   *slog.Logger
}

// Publisher puts this node's own values. It is safe for concurrent use.
type Publisher struct {
	cfg    Config
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup // publications

	met     chan struct{} // closed by haveMet
	haveMet func()        // once
	turns   *rate.Limiter // of those that wait for that

	sequence sequence // of what is sealed
	maxSaved int
	writing  nameLocks // held while the state is changed, each for one name; before mu

	mu           sync.Mutex
	closed       bool
	saved        int // publications that are
	publications map[subjectName]*publication
}

// New returns a publisher of what is in the state, and of nothing else yet. The error is
// the state's, where that can not be read.
func New(cfg Config) (*Publisher, error) {
	p := &Publisher{
		cfg: cfg, met: make(chan struct{}), turns: rate.NewLimiter(resumedRate, 1),
		maxSaved: maxSaved, writing: nameLocks{held: make(map[string]*nameLock)}, publications: make(map[subjectName]*publication),
	}
	p.haveMet = sync.OnceFunc(func() { close(p.met) })
	p.ctx, p.cancel = context.WithCancel(context.Background())
	if cfg.State == nil {
		return p, nil
	}
	p.cfg.State = state.Under(cfg.State, "advertisement")
	if err := p.restore(p.ctx); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// Close ends what is published, and waits for it: the records live until their ttl
// is over. What is in the state stays there.
func (p *Publisher) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cancel()
	p.tasks.Wait()
}

// Store keeps a value here and on the nodes nearest to its key; see
// [replication.Replicate]. One does not need the other: where nobody else has it, it is
// kept here all the same and the error says so; where it can not be kept here the
// others have it, and the error is ErrNotKept.
func (p *Publisher) Store(ctx context.Context, key []byte, raw wire.Raw) (*replication.Replicas, error) {
	value, err := Check(key, raw)
	if err != nil {
		return nil, err
	}
	c, err := p.keep(ctx, replication.Copy{Key: key, Value: value})
	if isFinal(err) {
		return nil, err
	}
	replicas, elsewhere := p.replicate(ctx, c)
	return replicas, errors.Join(err, elsewhere)
}

// replicate puts a copy on others, with a proof of its own where it has none yet.
func (p *Publisher) replicate(ctx context.Context, c replication.Copy) (*replication.Replicas, error) {
	if c.Proof == nil {
		var err error
		if c, err = p.seal(c); err != nil {
			return nil, err
		}
	}
	return replication.Replicate(ctx, p.cfg.Routing, p.cfg.Lookups, p.cfg.Network, c)
}

// Check returns a value as it is stored; one that can not be under the key is a
// [proto.ErrInvalidRequest].
func Check(key []byte, raw wire.Raw) (values.Value, error) {
	if key == nil || len(key) > wire.MaxField {
		return values.Value{}, fmt.Errorf("%w: key of %d bytes, want one of at most %d", proto.ErrInvalidRequest, len(key), wire.MaxField)
	}
	texts, err := wire.TextsAsBin(raw)
	if err != nil {
		return values.Value{}, fmt.Errorf("%w: %w", proto.ErrInvalidRequest, err)
	}
	value, err := values.Parse(bytes.Clone(texts))
	if err != nil {
		return values.Value{}, fmt.Errorf("%w: %w", proto.ErrInvalidRequest, err)
	}
	return value, nil
}

// keep stores a value of this node's own here, and returns it as it is to be put
// elsewhere: with its proof, where this node is its provider.
func (p *Publisher) keep(ctx context.Context, c replication.Copy) (replication.Copy, error) {
	if p.ctx.Err() != nil {
		return c, proto.ErrClosed
	}
	c, err := p.seal(c)
	if err == nil {
		err = p.store(ctx, c)
	}
	if errors.Is(err, records.ErrSuperseded) && p.catchUp(ctx, c.Key) {
		if c, err = p.seal(c); err == nil {
			err = p.store(ctx, c)
		}
	}
	if err != nil && !isFinal(err) {
		return c, fmt.Errorf("%w: %w", ErrNotKept, err)
	}
	return c, err
}

// store puts a copy into this node's own store.
func (p *Publisher) store(ctx context.Context, c replication.Copy) error {
	self := p.cfg.Routing.Self()
	return p.cfg.Routing.Records().Store(ctx, records.Put{
		Key:    bytes.Clone(c.Key),
		Value:  c.Value.Raw,
		NodeID: c.Value.NodeID,
		TTL:    c.Value.TTL,
		Proof:  c.Proof,
		Synced: true,
		From:   self[:],
	})
}

// isFinal reports whether a value that was not kept would not be the next time, nor
// by others.
func isFinal(err error) bool {
	for _, final := range []error{records.ErrNotOwner, values.ErrBad, proto.ErrClosed, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, final) {
			return true
		}
	}
	return false
}
