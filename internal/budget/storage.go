package budget

import (
	"errors"
	"fmt"
	"maps"
	"sync"
)

// Why something was not stored.
var (
	// ErrStoreFull means that the limit for all together is used up.
	ErrStoreFull = errors.New("store full")
	// ErrSourceBudget means that the source has used up its own limit.
	ErrSourceBudget = errors.New("source over its storage budget")
	// ErrGroupBudget means that the IP group of the source has used up its limit.
	ErrGroupBudget = errors.New("IP group over its storage budget")
)

// LedgerOverhead is what the first record of a source costs a Storage itself, in
// bytes: the names of the source and its group, and a place in a map for each.
// Whoever charges for records adds it to what each costs.
const LedgerOverhead = 320

// StorageLimits are what a Storage allows, in bytes. Zero is an error.
type StorageLimits struct {
	Source int64 // of each source: 32 MiB
	Group  int64 // of each IP group, no less than that of a source: 128 MiB
	Total  int64 // of all together: 512 MiB
}

// DefaultStorageLimits returns the defaults.
func DefaultStorageLimits() StorageLimits {
	const source = 32 << 20
	return StorageLimits{Source: source, Group: groupShare * source, Total: 512 << 20}
}

func (l StorageLimits) validate() error {
	if l.Source < 1 || l.Group < l.Source || l.Total < 1 {
		return fmt.Errorf("%w: %d bytes stored for a source, %d for a group, %d in all",
			ErrLimits, l.Source, l.Group, l.Total)
	}
	return nil
}

// Entry is one stored record to the ledger.
type Entry struct {
	Source Source
	Bytes  int64 // what the record costs, no less than zero
}

// Stored is what some records cost together.
type Stored struct {
	Bytes, Records int64
}

// Storage is the ledger of what is stored. Post to it while holding the lock of
// what is changed, so that it always equals what is stored. Its memory grows by
// LedgerOverhead at most with each record, and is given back. Its methods may be
// called at the same time.
type Storage struct {
	limits StorageLimits

	mu      sync.Mutex
	all     Stored
	sources sums // by name, this node itself included
	groups  sums
}

// NewStorage returns an empty ledger. Limits that would serve nobody are an
// ErrLimits.
func NewStorage(limits StorageLimits) (*Storage, error) {
	if err := limits.validate(); err != nil {
		return nil, fmt.Errorf("budget: %w", err)
	}
	return &Storage{limits: limits, sources: newSums(), groups: newSums()}, nil
}

// Charge posts that the removed records went and the added one came. It refuses,
// and posts nothing, if thereby the source of the added record would grow over
// its limit (ErrSourceBudget), or its group over its (ErrGroupBudget), or all
// records over the total (ErrStoreFull). This node's own records count and are
// never refused, and nor is a replacement that is no larger.
func (s *Storage) Charge(removed []Entry, added Entry) error {
	if err := s.charge(removed, added); err != nil {
		return fmt.Errorf("%w: %v", err, added.Source)
	}
	return nil
}

func (s *Storage) charge(removed []Entry, added Entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.all.Bytes
	source, group := s.used(added.Source)
	s.enter(removed, -1)
	s.enterOne(added, +1)
	newSource, newGroup := s.used(added.Source)

	var err error
	switch {
	case added.Source.IsOwn():
	case newSource.Bytes > max(s.limits.Source, source.Bytes):
		err = ErrSourceBudget
	case newGroup.Bytes > max(s.limits.Group, group.Bytes):
		err = ErrGroupBudget
	case s.all.Bytes > max(s.limits.Total, all):
		err = ErrStoreFull
	}
	if err != nil {
		s.enterOne(added, -1)
		s.enter(removed, +1)
	}
	return err
}

// Post posts that the removed records went and the added ones came, whatever the
// limits: for records that expired. With the arguments exchanged it takes a
// posting back.
func (s *Storage) Post(removed, added []Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.enter(removed, -1)
	s.enter(added, +1)
}

// Load posts what a source had stored before the ledger began, whatever the
// limits.
func (s *Storage) Load(source Source, stored Stored) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.post(source, stored)
}

// Used returns what a source, and its group, have stored. A source without a
// group has none of it.
func (s *Storage) Used(source Source) (ofSource, ofGroup Stored) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used(source)
}

func (s *Storage) used(source Source) (ofSource, ofGroup Stored) {
	ofSource = s.sources.of[source.Name]
	if source.Group != "" {
		ofGroup = s.groups.of[source.Group]
	}
	return ofSource, ofGroup
}

// StorageTotals is a snapshot of a Storage.
type StorageTotals struct {
	Stored              // all together
	Sources, Groups int // that have something stored, this node too
}

// Usage returns what is stored in all.
func (s *Storage) Usage() StorageTotals {
	s.mu.Lock()
	defer s.mu.Unlock()
	return StorageTotals{Stored: s.all, Sources: len(s.sources.of), Groups: len(s.groups.of)}
}

func (s *Storage) enter(entries []Entry, sign int64) {
	for _, e := range entries {
		s.enterOne(e, sign)
	}
}

func (s *Storage) enterOne(e Entry, sign int64) {
	s.post(e.Source, Stored{Bytes: sign * e.Bytes, Records: sign})
}

func (s *Storage) post(source Source, d Stored) {
	s.all = s.all.plus(d)
	s.sources.add(source.Name, d)
	if source.Group != "" {
		s.groups.add(source.Group, d)
	}
}

func (s Stored) plus(d Stored) Stored {
	return Stored{Bytes: s.Bytes + d.Bytes, Records: s.Records + d.Records}
}

// sums has a sum for each name that has any.
type sums struct {
	of   map[string]Stored
	peak int // the most names since of was made
}

func newSums() sums { return sums{of: make(map[string]Stored)} }

// A map keeps the room of its largest moment; one that was large and is nearly
// empty is made anew.
const (
	shrinkFrom = 1024 // names
	shrinkBy   = 8
)

func (s *sums) add(name string, d Stored) {
	sum := s.of[name].plus(d)
	if sum != (Stored{}) {
		s.of[name] = sum
		s.peak = max(s.peak, len(s.of))
		return
	}
	delete(s.of, name)
	if s.peak >= shrinkFrom && len(s.of) < s.peak/shrinkBy {
		small := make(map[string]Stored, len(s.of))
		maps.Copy(small, s.of)
		s.of, s.peak = small, len(small)
	}
}
