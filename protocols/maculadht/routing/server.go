package routing

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// ErrUnverified means that a contact was to be admitted that nobody verified.
var ErrUnverified = errors.New("contact is not verified")

// Server owns all the state of a node: its contacts, its guests and its
// records. It applies the rules and is safe for concurrent use. No method asks
// the network.
type Server struct {
	table    *Table
	guests   *guests
	records  RecordStore
	ledger   *ledger
	keys     atomic.Int64
	counters counters

	stopSweeper context.CancelFunc
	sweeper     sync.WaitGroup
	closeOnce   func() error
}

// NewServer returns a server for the node with id self, and starts its sweeper.
// Close it to stop that. It fails on a bad option, and when the records in a
// store given with [WithRecordStore] can not be read.
func NewServer(self ID, opts ...Option) (*Server, error) {
	cfg := config{
		total:         DefaultStoreBudget,
		perSource:     DefaultStoreBudget / DefaultSourceShare,
		bucketSize:    BucketSize,
		limit:         diversity{perBucket: DefaultPerBucket, perTable: DefaultPerTable},
		sweepInterval: DefaultSweepInterval,
	}
	for _, opt := range opts {
		if err := opt(&cfg); err != nil {
			return nil, fmt.Errorf("option: %w", err)
		}
	}
	if cfg.records == nil {
		cfg.records = NewMemoryStore()
	}
	s := &Server{
		table:   NewTable(self, cfg.bucketSize),
		guests:  newGuests(self),
		records: cfg.records,
		ledger:  newLedger(cfg.total, cfg.perSource),
	}
	s.table.limit = cfg.limit
	s.closeOnce = sync.OnceValue(s.shutdown)
	if err := s.load(); err != nil {
		return nil, fmt.Errorf("load records: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.stopSweeper = cancel
	s.sweeper.Go(func() { s.sweepEvery(ctx, cfg.sweepInterval) })
	return s, nil
}

// load enters into the ledger what the store already holds.
func (s *Server) load() error {
	return s.records.Range(nil, func(key []byte, recs []Record) bool {
		s.ledger.load(key, recs)
		s.keys.Add(1)
		return true
	})
}

// Close stops the sweeper, waits for it and closes the record store. Further
// calls return what the first did. The server must not be used afterwards.
func (s *Server) Close() error {
	return s.closeOnce()
}

func (s *Server) shutdown() error {
	s.stopSweeper()
	s.sweeper.Wait()
	if err := s.records.Close(); err != nil {
		return fmt.Errorf("close records: %w", err)
	}
	return nil
}

// Self returns our own id.
func (s *Server) Self() ID {
	return s.table.buckets.self
}

// Admit puts a verified contact into the table, or refreshes it there. Contacts
// are verified by whoever spoke to them: Admit fails with [ErrUnverified] when
// c says that nobody has, otherwise as [Table.Add] does.
func (s *Server) Admit(c Contact) error {
	if !c.Verified {
		return ErrUnverified
	}
	return s.table.Add(c)
}

// Forget takes a contact that no longer answers out of the table and reports
// whether it was there. A guest with the same id stays listed.
func (s *Server) Forget(id ID) bool {
	return s.table.Remove(id)
}

// AttachGuest lists an unverified Erlang node in FIND_NODE replies until detach
// is called. A node with several connections is listed once, as the newest of
// those that are left. Calling detach again does nothing. It fails with
// [ErrSelf], [ErrNotErlang] or [ErrGuestsFull].
func (s *Server) AttachGuest(c Contact) (detach func(), err error) {
	return s.guests.attach(c)
}

// FindNode returns the contacts to name in a FIND_NODE reply: the [BucketSize]
// nearest to target of all contacts and guests, nearest first. A node is named
// once: a contact stands for the guest that has its id or its endpoint. target
// may have any length, see [IDFromBytes].
func (s *Server) FindNode(target []byte) []Contact {
	near := nearest{
		target: IDFromBytes(target),
		limit:  BucketSize,
		found:  make([]candidate, 0, BucketSize),
	}
	// Both under the table's lock, so that a guest that becomes a contact
	// meanwhile is named neither twice nor not at all.
	s.table.mu.RLock()
	defer s.table.mu.RUnlock()
	s.table.buckets.collect(&near)
	near.skip = s.table.holds
	s.guests.collect(&near)
	return near.contacts()
}

// Nearest returns the n contacts nearest to target, nearest first: whom to ask.
// Guests are not among them.
func (s *Server) Nearest(target ID, n int) []Contact {
	return s.table.Nearest(target, n)
}

// Contact returns the contact with this id. Guests are not contacts.
func (s *Server) Contact(id ID) (Contact, bool) {
	return s.table.Get(id)
}

// Contacts returns every contact. Guests are not among them.
func (s *Server) Contacts() []Contact {
	return s.table.All()
}

func (s *Server) sweepEvery(ctx context.Context, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.sweep(ctx)
		}
	}
}
