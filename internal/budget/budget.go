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

// LimitError says that a source was refused, and by which limit. It is a
// network.ErrResourceLimitExceeded.
type LimitError struct {
	Source Source
	Scope  Scope
	Limit  int64 // bytes
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%s: %v: limit of %d bytes buffered (%s)", network.ErrResourceLimitExceeded, e.Source, e.Limit, e.Scope)
}

// Unwrap returns network.ErrResourceLimitExceeded.
func (e *LimitError) Unwrap() error { return network.ErrResourceLimitExceeded }

var errNegative = errors.New("a negative size can't be reserved")

// entryBytes is what one source or group in a Budget costs at most: itself, its
// name, its limiter and its place in a map and a list. There are as many sources,
// and at most as many groups, as accounts are open, and Limits.Remember of each
// beside: so what opens an account has to be bounded, as connections are.
const entryBytes = 512

// Budget has the accounts of all sources and groups. Its methods, and those of
// accounts, may be called at the same time.
type Budget struct {
	limits Limits
	batch  int  // frames that an account takes from its group's at a time
	free   bool // no limit of frames at all

	all held

	mu      sync.Mutex
	sources table
	groups  table
}

// New returns a budget with no accounts. Limits that would serve nobody are an
// ErrLimits.
func New(limits Limits) (*Budget, error) {
	if err := limits.Validate(); err != nil {
		return nil, fmt.Errorf("budget: %w", err)
	}
	return &Budget{
		limits: limits,
		batch:  min(limits.Group.FrameBurst/batchShare, maxBatch),
		free:   limits.Source.FrameRate == rate.Inf && limits.Group.FrameRate == rate.Inf,

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
type held struct{ atomic.Int64 }

func (h *held) usage() Usage { return Usage{Memory: h.Load()} }

// take adds n unless it would then be more than limit; it never is, not even for
// a moment.
func (h *held) take(n, limit int64) bool {
	for {
		used := h.Load()
		if n > limit-used {
			return false
		}
		if h.CompareAndSwap(used, used+n) {
			return true
		}
	}
}

// give takes n away, or what there is if that is less, and returns how much.
func (h *held) give(n int64) int64 {
	for {
		used := h.Load()
		n = max(min(n, used), 0)
		if h.CompareAndSwap(used, used-n) {
			return n
		}
	}
}
