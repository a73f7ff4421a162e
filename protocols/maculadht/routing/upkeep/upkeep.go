package upkeep

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

// How the upkeep goes about, unless an option says otherwise.
const (
	// DefaultCheckInterval is how often the table is looked over: for contacts
	// that have been silent, and for buckets that have been idle.
	DefaultCheckInterval = time.Minute
	// DefaultIdle is for how long a contact may be silent before it is asked for
	// a sign of life, half as long where it is not connected, and a bucket without a lookup before it is refreshed.
	DefaultIdle = 10 * time.Minute
	// DefaultRetry is how long the upkeep waits before it asks a contact again
	// that did not answer while another waits for its place.
	DefaultRetry = 5 * time.Second
	// DefaultHandOverDelay is how long newcomers are gathered before the records
	// that are theirs are looked for: each search goes through all that is stored.
	DefaultHandOverDelay = 10 * time.Second
	// DefaultHandOverRate is how much is handed over, in bytes of records a
	// second.
	DefaultHandOverRate = 1 << 20
)

// pingsAtOnce is how many contacts are asked for a sign of life at a time. Most of
// those that are doubtful do not answer, and should not keep others waiting.
const pingsAtOnce = 32

// Upkeep keeps the table of a [routing.Server] true and its records where they belong:
//
//   - Of a full bucket that turns somebody away the contact that was silent
//     longest is asked for a sign of life. If it fails [routing.MaxFailures] times in a
//     row, who came last has its place; if it answers it keeps it.
//   - Contacts that were silent for long are asked too, and leave the table in the
//     same way. Those that have become doubtful, such as by the end of their
//     connection, are asked at once.
//   - Of those that were lost a few are asked every few seconds, and all once one of
//     them answers, such as after a partition.
//   - Who was dropped so, and is heard of again, is asked and taken back.
//   - A bucket in which nothing was looked up for long is refreshed by a lookup.
//   - Records go to a verified libp2p contact that is new and nearer to their key
//     than the last of the [routing.BucketSize] nearest that were known, with what is
//     left of their life; to one that may have lost its own, or missed some, as
//     well. A few of their holders see to it, those nearest to the key and some that are
//     drawn. Erlang
//     contacts get none: they would keep them for ever.
//
// Where nobody answers at all nobody is blamed: it is likelier that this node is
// cut off. Close it.
type Upkeep struct {
	server   *routing.Server
	lookups  *lookup.Lookups
	cfg      config
	counters counters

	bytes      *rate.Limiter // of records that are handed over
	apartBytes *rate.Limiter // of those to newcomers that are served apart

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup
	pings  chan struct{} // one token for each ping under way

	mu           sync.Mutex
	challenged   map[int]struct{}      // buckets whose oldest is being asked
	checking     questions             // to contacts that were doubted
	returning    questions             // to some that were dropped, and heard of
	newcomers    map[routing.ID]bool   // that nothing was handed over to yet; true: came back
	served       map[routing.ID]served // to whom something was, lately
	serving      groupCounts           // newcomers that records are being handed over to
	apart        []one                 // newcomers to be served apart, those first that wait for longest
	servingApart groupCounts           // those that are
	arrived      chan struct{}         // has a token while there are newcomers
	returned     chan struct{}         // as well, for those that came back
	waiting      chan struct{}         // has a token while there are some apart
}

// New starts the upkeep of the server whose lookups these are, which asks
// through their network. Close it before the network.
func New(lookups *lookup.Lookups, opts ...Option) (*Upkeep, error) {
	cfg := defaults()
	for _, opt := range opts {
		if opt == nil {
			return nil, errors.New("upkeep: a nil option")
		}
		if err := opt(&cfg); err != nil {
			return nil, fmt.Errorf("upkeep option: %w", err)
		}
	}
	u := &Upkeep{
		server:       lookups.Server(),
		lookups:      lookups,
		cfg:          cfg,
		pings:        make(chan struct{}, pingsAtOnce),
		challenged:   make(map[int]struct{}),
		checking:     make(questions),
		returning:    make(questions),
		newcomers:    make(map[routing.ID]bool),
		served:       make(map[routing.ID]served),
		serving:      make(groupCounts),
		servingApart: make(groupCounts),
		arrived:      make(chan struct{}, 1),
		returned:     make(chan struct{}, 1),
		waiting:      make(chan struct{}, 1),
	}
	u.bytes = rate.NewLimiter(rate.Limit(u.cfg.handOverRate), max(u.cfg.handOverRate, maxHandOver))
	u.apartBytes = rate.NewLimiter(rate.Limit(u.cfg.handOverRate)/apartShare, max(u.cfg.handOverRate/apartShare, maxHandOver))
	u.ctx, u.cancel = context.WithCancel(context.Background())
	u.tasks.Go(u.watch)
	u.tasks.Go(u.lookOver)
	u.tasks.Go(u.watchLost)
	u.tasks.Go(func() { u.handOver(u.arrived, u.cfg.handOverDelay, false) })
	u.tasks.Go(func() { u.handOver(u.returned, min(refillAfter, u.cfg.handOverDelay), true) })
	for range apartAtOnce {
		u.tasks.Go(u.serveApart)
	}
	return u, nil
}

// Close stops the upkeep and waits for it.
func (u *Upkeep) Close() {
	u.mu.Lock()
	u.cancel() // from here on askOnce begins nothing
	u.mu.Unlock()
	u.tasks.Wait()
}

// watch acts on the table's changes.
func (u *Upkeep) watch() {
	for {
		select {
		case <-u.ctx.Done():
			return
		case <-u.server.Table().Changed():
		}
		changes := u.server.Table().TakeChanges()
		for _, bucket := range changes.Full {
			u.challenge(bucket)
		}
		for _, c := range changes.Doubted {
			u.check(c)
		}
		u.noteNewcomers(changes.Joined, changes.Returned)
	}
}

// lookOver checks what has been silent or idle, again and again.
func (u *Upkeep) lookOver() {
	ticker := time.NewTicker(u.cfg.check)
	defer ticker.Stop()
	for {
		select {
		case <-u.ctx.Done():
			return
		case <-ticker.C:
		}
		u.checkSilent()
		u.refresh()
		u.noteNewcomers(nil, nil)
	}
}

// sleep waits, and reports whether the upkeep goes on.
func (u *Upkeep) sleep(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-u.ctx.Done():
		return false
	}
}
