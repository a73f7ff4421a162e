package lookup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/density"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup/found"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup/negative"
)

// How a lookup can come to nothing.
var (
	// ErrNoPeers: nobody is known who could be asked.
	ErrNoPeers = errors.New("no peers are known")
	// ErrUnanswered: somebody was asked, and nobody answered.
	ErrUnanswered = errors.New("nobody answered")
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
	// DefaultSlow is after how long at most a contact's slot is given to another; its
	// answer still counts while the lookup lasts.
	DefaultSlow = time.Second
)

// Lookups finds what is anywhere in the network, by asking ever nearer contacts
// through a [routing.Network], beginning at those of a [routing.Server].
//
// Of one IP group only a few count among the nearest, while there are others (package
// diversity): the rest are asked last.
//
// Libp2p contacts are asked first, for nodes the nearest known first and for values any of
// the BucketSize nearest, so that a few who have the very nearest ids do not hide what the
// others have, and those that they name; they do not enter the table by that. Those that are doubtful
// ([routing.Contact.Doubtful]) are asked only where the others have come to nothing.
// Erlang contacts of the server's own are asked for values only, one at a time,
// after all others have missed.
//
// Who does not answer keeps nobody waiting for longer than a slot (WithTimeouts),
// unless nothing was found without it.
//
// A contact that answered is noted in the table as alive. One that failed, or
// answered what can not be, is dropped from the lookup, what it said is thrown
// away, and it is noted as failed; not so where the lookup was ended, and where
// nobody could be reached, which tells more of this node than of others. Whom a
// lookup did not wait for is doubtful, and asked for a sign of life by the upkeep.
// Erlang contacts are never noted as failed: they may be left alone for a while,
// and are checked by PING.
//
// Lookups is safe for concurrent use and starts no goroutine that outlives a
// call.
type Lookups struct {
	server   *routing.Server
	network  routing.Network
	cfg      config
	negative negative.Cache
	visited  visits
	density  density.Estimator
	randomID func() routing.ID // of the id space
}

// New returns lookups that begin at server's contacts and ask through
// network.
func New(server *routing.Server, network routing.Network, opts ...Option) (*Lookups, error) {
	cfg := defaults()
	for _, opt := range opts {
		if opt == nil {
			return nil, errors.New("lookup: a nil option")
		}
		if err := opt(&cfg); err != nil {
			return nil, fmt.Errorf("lookup option: %w", err)
		}
	}
	return &Lookups{server: server, network: network, cfg: cfg, randomID: randomID}, nil
}

// Server returns the server at whose contacts the lookups begin.
func (l *Lookups) Server() *routing.Server { return l.server }

// LastLookup returns when something was last looked up in a bucket's part of the id
// space, and with [routing.IDBits] as the bucket, when our own id was; zero for never.
func (l *Lookups) LastLookup(bucket int) time.Time { return l.visited.at(bucket) }

// Query asks one contact something, for as long as a question of a lookup may take,
// and has the tracer told of it. Nothing is noted in the table. Errors are those of
// the [routing.Network].
func (l *Lookups) Query(ctx context.Context, to routing.Contact, m wire.Message) (wire.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.query)
	defer cancel()
	start := time.Now()
	ctx, span := l.beginQuestion(ctx, to, m.Type())
	reply, err := l.network.Query(ctx, to, m)
	l.cfg.tracer.QueryDone(m.Type(), resultOf(err), time.Since(start))
	span.end(err)
	return reply, err
}

// Found is what came of a lookup.
type Found struct {
	// Closest are the libp2p contacts nearest to the target that answered,
	// nearest first, at most BucketSize, those beyond their IP group's share only where
	// there are not as many others.
	Closest []routing.Contact
	// Wider are libp2p contacts that answered in the region that should hold BucketSize
	// honest nodes, where the nearest lie too densely to be true; see NodesFor. They are
	// MaxWider at most, none of Closest among them.
	Wider []routing.Contact
	// Values are those of all holders that were asked, merged: of one provider's the
	// proved one that is newest, else the one with the most life left; none that its
	// provider has withdrawn. Those that are proved first, then those with the longest
	// life, and at most [records.MaxProviders].
	Values []FoundValue
	// Holders is how many contacts had a value, this node included.
	Holders int
	// Hops are the contacts that were asked, in the order of their answers. One is there
	// twice only where it was not reached at first and then tried at another address.
	// Those whose answer was not waited for are not among them.
	Hops []Hop
	// Silent is how many contacts were asked and not waited for.
	Silent int
}

// FoundValue is a value and when its life ends; see [found.Value].
type FoundValue = found.Value

// Hop is one contact that a lookup asked.
type Hop struct {
	Contact routing.Contact
	Round   int           // 1 for a contact of our own, one more than who named it for others
	Took    time.Duration // of all that it was asked
	// Again says that it had answered with values, and now was asked for nodes too: what
	// it said both times is in this hop.
	Again  bool
	Nodes  int   // how many it named
	Values int   // how many it had
	Err    error // why it was dropped from the lookup; nil for a good answer
}

// Asked is a question of a lookup that is about to be sent.
type Asked struct {
	Contact routing.Contact
	Round   int  // as of a Hop
	Again   bool // as of a Hop
}

// Nodes finds the live contacts nearest to target. It ends when the BucketSize
// nearest of all that it came to know, and that are alive, have answered. The error
// is [ErrNoPeers] where the table is empty, [ErrUnanswered], or that of ctx, which is
// [context.DeadlineExceeded] at the lookup's own deadline; what was found by then is
// returned with it.
func (l *Lookups) Nodes(ctx context.Context, target []byte) (*Found, error) {
	return l.begin(ctx, KindNodes, Search{Key: target})
}

// Values finds the values stored under key, here and elsewhere. It ends when
// enough holders have answered (WithQuorum), or the whole neighbourhood has and, where
// that lies too densely to be true, the wider region that NodesFor finds too.
// Where somebody answered and there is nothing, the error is [records.ErrNotFound];
// otherwise it is as for Nodes. What was found is returned with the error.
func (l *Lookups) Values(ctx context.Context, key []byte) (*Found, error) {
	return l.Search(ctx, Search{Key: key})
}

// Search is a lookup of values that goes about in a way of its own.
type Search struct {
	// Key is under which the values are stored.
	Key []byte
	// PeersOnly keeps it from asking Erlang contacts: what an Erlang node caused
	// would have two of them wait for each other.
	PeersOnly bool
	// ProvedOnly has it take what is proved, and pass over the rest; Erlang contacts,
	// which have no proofs, are not asked.
	ProvedOnly bool
	// Alpha is how many contacts it asks at a time, as many as WithAlpha says where
	// it is 0.
	Alpha int
	// MaxBytes is how many bytes of values it gathers, 8 MiB where it is 0. Of more,
	// those with the shortest life go.
	MaxBytes int
	// OnMissed is called before Erlang contacts are asked, with the nearest contacts
	// that have answered, as nobody had a value; it may be nil.
	OnMissed func(closest []routing.Contact)
	// OnValues is called with the values of each holder as it answers, this node's
	// own first, by the goroutine that called for the lookup; it may be nil. They
	// are not merged: a provider may be named by each holder, or be said to have
	// withdrawn (FoundValue.IsWithdrawn).
	OnValues func([]FoundValue)
	// OnAsked is called before each question with who is asked, and OnHop with each answer
	// as it comes, both by the goroutine that called for the lookup; they may be nil.
	OnAsked func(Asked)
	OnHop   func(Hop)

	wide     bool                  // it looks farther where the nearest lie too densely to be true
	passOver func(routing.ID) bool // who is not asked; may be nil
}

// Search is [Lookups.Values] in the way that how says.
func (l *Lookups) Search(ctx context.Context, how Search) (*Found, error) {
	how.wide = true
	return l.begin(ctx, KindValues, how)
}

// begin runs a lookup, and has it told of.
func (l *Lookups) begin(ctx context.Context, kind Kind, how Search) (*Found, error) {
	start := time.Now()
	ctx, span := l.beginSpan(ctx, kind, how.Key)
	found, err := l.run(ctx, how, kind == KindValues)
	hops := 0
	for i := range found.Hops {
		hops = max(hops, found.Hops[i].Round)
	}
	asked := len(found.Hops) + found.Silent
	l.cfg.tracer.LookupDone(kind, resultOf(err), time.Since(start), asked, hops)
	span.end(found, asked, hops, err)
	return found, err
}
