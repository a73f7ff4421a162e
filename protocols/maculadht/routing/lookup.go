package routing

import (
	"context"
	"fmt"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
)

// How a lookup goes about, unless an option says otherwise.
const (
	// DefaultAlpha is how many contacts are asked at a time; see WithAlpha.
	DefaultAlpha = 3
	// DefaultQuorum is how many answers with a value end a lookup for it.
	DefaultQuorum = 3
	// DefaultQueryTimeout is how long one contact may take.
	DefaultQueryTimeout = 5 * time.Second
	// DefaultLookupTimeout is how long a lookup may take.
	DefaultLookupTimeout = 30 * time.Second
	// DefaultSlow is after how long a contact's slot is given to another; its
	// answer still counts while the lookup lasts.
	DefaultSlow = time.Second
)

// Lookups finds what is anywhere in the network, by asking ever nearer contacts
// through a [Network], beginning at those of a [Server].
//
// Libp2p contacts are asked first, the nearest known first, and those that they
// name; they do not enter the table by that. Erlang contacts of the server's own
// are asked for values only, one at a time, after all others have missed.
//
// A contact that answered is noted in the table as alive. One that failed, or
// answered what can not be, is dropped from the lookup, what it said is thrown
// away, and it is noted as failed; not so where the lookup was ended, and where
// nobody could be reached, which tells more of this node than of others. Whom a
// lookup did not wait for is asked for a sign of life by [Upkeep].
// Erlang contacts are never noted as failed: they may be left alone for a while,
// and are checked by PING.
//
// Lookups is safe for concurrent use and starts no goroutine that outlives a
// call.
type Lookups struct {
	server  *Server
	network Network
	cfg     lookupConfig
	misses  misses
	visited visits
}

type lookupConfig struct {
	alpha   int
	quorum  int
	query   time.Duration
	lookup  time.Duration
	slow    time.Duration
	observe func(Hop)
}

// LookupOption sets a detail of Lookups.
type LookupOption func(*lookupConfig) error

// WithAlpha sets how many contacts are asked at a time. A lookup of nodes that
// has heard the alpha nearest asks the rest of the BucketSize nearest at once.
func WithAlpha(alpha int) LookupOption {
	return func(c *lookupConfig) error {
		if alpha < 1 {
			return fmt.Errorf("alpha %d: want at least 1", alpha)
		}
		c.alpha = alpha
		return nil
	}
}

// WithQuorum sets how many answers with a value end a lookup for it; 0 means
// that the whole neighbourhood of the key is asked.
func WithQuorum(answers int) LookupOption {
	return func(c *lookupConfig) error {
		if answers < 0 {
			return fmt.Errorf("quorum %d: want 0 or more", answers)
		}
		c.quorum = answers
		return nil
	}
}

// WithTimeouts sets how long one contact may take, after how long its slot is
// given to another, and how long a whole lookup may take.
func WithTimeouts(query, slow, lookup time.Duration) LookupOption {
	return func(c *lookupConfig) error {
		if query <= 0 || slow <= 0 || lookup <= 0 {
			return fmt.Errorf("lookup timeouts %v, %v and %v: want more than 0", query, slow, lookup)
		}
		c.query, c.slow, c.lookup = query, slow, lookup
		return nil
	}
}

// WithObserver has each answer shown to observe as it comes, those of one
// lookup one at a time, by the goroutine that called for the lookup.
func WithObserver(observe func(Hop)) LookupOption {
	return func(c *lookupConfig) error {
		c.observe = observe
		return nil
	}
}

// NewLookups returns lookups that begin at server's contacts and ask through
// network.
func NewLookups(server *Server, network Network, opts ...LookupOption) (*Lookups, error) {
	l := &Lookups{server: server, network: network, cfg: lookupConfig{
		alpha:  DefaultAlpha,
		quorum: DefaultQuorum,
		query:  DefaultQueryTimeout,
		lookup: DefaultLookupTimeout,
		slow:   DefaultSlow,
	}}
	for _, opt := range opts {
		if err := opt(&l.cfg); err != nil {
			return nil, fmt.Errorf("lookup option: %w", err)
		}
	}
	return l, nil
}

// Found is what came of a lookup.
type Found struct {
	// Closest are the libp2p contacts nearest to the target that answered,
	// nearest first, at most BucketSize.
	Closest []Contact
	// Values are those of all holders that were asked, merged: of one
	// provider's the one with the most life left. Longest life first, and at
	// most MaxProviders.
	Values []FoundValue
	// Holders is how many contacts had a value, this node included.
	Holders int
	// Hops are the contacts that were asked, in the order of their answers.
	// Those whose answer was not waited for are not among them.
	Hops []Hop
}

// FoundValue is a value and when its life ends.
type FoundValue struct {
	wire.Value
	Expires time.Time
}

// Hop is one contact that a lookup asked.
type Hop struct {
	Contact Contact
	Round   int // 1 for a contact of our own, one more than who named it for others
	Took    time.Duration
	Nodes   int   // how many it named
	Values  int   // how many it had
	Err     error // why it was dropped from the lookup; nil for a good answer
}

// Nodes finds the live contacts nearest to target. It ends when the BucketSize
// nearest of all that it came to know, and that are alive, have answered. The
// error is that of ctx, or [context.DeadlineExceeded] at the lookup's own
// deadline; what was found by then is returned with it.
func (l *Lookups) Nodes(ctx context.Context, target []byte) (*Found, error) {
	return l.run(ctx, target, false)
}

// Values finds the values stored under key, here and elsewhere. It ends when
// enough holders have answered (WithQuorum), or the whole neighbourhood has.
// Where there is nothing the error is [ErrNotFound]; otherwise it is as for
// Nodes. What was found is returned with the error.
func (l *Lookups) Values(ctx context.Context, key []byte) (*Found, error) {
	found, err := l.run(ctx, key, true)
	if err == nil && len(found.Values) == 0 {
		err = ErrNotFound
	}
	return found, err
}
