package budget

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"golang.org/x/time/rate"
)

// Scope is whose limit it is.
type Scope string

// The scopes, from the narrowest.
const (
	ScopeSource Scope = "source"
	ScopeGroup  Scope = "group"
	ScopeAll    Scope = "all"
)

// Resource is what is held and given back.
type Resource int

// The resources.
const (
	ResourceMemory Resource = iota // bytes buffered
	ResourceConns                  // connections

	resources
)

// String returns the unit that the resource is counted in.
func (r Resource) String() string {
	switch r {
	case ResourceMemory:
		return "bytes buffered"
	case ResourceConns:
		return "connections"
	default:
		return fmt.Sprintf("Resource(%d)", int(r))
	}
}

// LimitError says that a source was refused, and by which limit. It is a
// network.ErrResourceLimitExceeded.
type LimitError struct {
	Source   Source
	Scope    Scope
	Resource Resource
	Limit    int64 // bytes or connections
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%s: %v: limit of %d %s (%s)", network.ErrResourceLimitExceeded, e.Source, e.Limit, e.Resource, e.Scope)
}

// Unwrap returns network.ErrResourceLimitExceeded.
func (e *LimitError) Unwrap() error { return network.ErrResourceLimitExceeded }

var errNegative = errors.New("a negative size can't be reserved")

// entryBytes is what one source or group in a Budget costs at most: itself, its
// name, its limiter and its place in a map and a list. There are at most
// Limits.TotalConns sources and as many groups with a connection, and
// Limits.Remember of each without one: by default 16,384, so 8 MiB in all. (An
// account that is opened and has no connection counts as one that has; open it
// for the time that OpenConn takes, or for what else bounds its number.)
const entryBytes = 512

// Budget has the accounts of all sources and groups. Its methods, and those of
// accounts, may be called at the same time.
type Budget struct {
	limits Limits
	batch  int  // frames that an account takes from its group's at a time
	free   bool // no limit of frames at all

	perSource, perGroup, total [resources]int64 // limits

	all held

	mu      sync.Mutex
	sources table
	groups  table
}

// New returns a budget with no accounts. Limits that would serve nobody are an
// ErrLimits.
func New(limits Limits) (*Budget, error) {
	if err := limits.validate(); err != nil {
		return nil, fmt.Errorf("budget: %w", err)
	}
	return &Budget{
		limits: limits,
		batch:  min(limits.Group.FrameBurst/batchShare, maxBatch),
		free:   limits.Source.FrameRate == rate.Inf && limits.Group.FrameRate == rate.Inf,

		perSource: limits.Source.held(),
		perGroup:  limits.Group.held(),
		total:     [resources]int64{ResourceMemory: limits.TotalMemory, ResourceConns: int64(limits.TotalConns)},

		sources: newTable(limits.Source, limits.Remember),
		groups:  newTable(limits.Group, limits.Remember),
	}, nil
}

// Limits returns what the budget was made with.
func (b *Budget) Limits() Limits { return b.limits }

// Open returns a handle on the account of source, which lives while it has one.
// It is never refused. Close it once all that was taken through it was given
// back.
func (b *Budget) Open(source Source) *Account {
	a := &Account{budget: b, who: source}
	if source.IsOwn() {
		return a
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	a.source = b.sources.open(source.Name)
	if source.Group != "" {
		a.group = b.groups.open(source.Group)
	}
	return a
}

// Usage is what is held now.
type Usage struct {
	Memory int64 // bytes buffered
	Conns  int64 // connections
}

// Totals is a snapshot of a Budget. Its numbers may be of moments slightly apart.
type Totals struct {
	Usage               // all together
	Sources, Groups int // known, with the remembered ones
	Remembered      int // of both, those with no account open
}

// Usage returns what all sources hold together.
func (b *Budget) Usage() Totals {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.sources.forget(now)
	b.groups.forget(now)
	return Totals{
		Usage:      b.all.usage(),
		Sources:    len(b.sources.entries),
		Groups:     len(b.groups.entries),
		Remembered: b.sources.idle.Len() + b.groups.idle.Len(),
	}
}

// held is what one source, one group or all together have taken.
type held [resources]atomic.Int64

func (h *held) usage() Usage {
	return Usage{Memory: h[ResourceMemory].Load(), Conns: h[ResourceConns].Load()}
}

// take adds n unless it would then be more than limit; it never is, not even for
// a moment.
func (h *held) take(r Resource, n, limit int64) bool {
	for {
		used := h[r].Load()
		if n > limit-used {
			return false
		}
		if h[r].CompareAndSwap(used, used+n) {
			return true
		}
	}
}

// give takes n away, or what there is if that is less, and returns how much.
func (h *held) give(r Resource, n int64) int64 {
	for {
		used := h[r].Load()
		n = max(min(n, used), 0)
		if h[r].CompareAndSwap(used, used-n) {
			return n
		}
	}
}
