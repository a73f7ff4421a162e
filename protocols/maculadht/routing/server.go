package routing

import (
	"errors"
	"fmt"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// ErrUnverified means that a contact was to be admitted that nobody verified.
var ErrUnverified = errors.New("contact is not verified")

// Server is the state of a node: its contacts, its guests and its records. It is
// safe for concurrent use. No method asks the network.
type Server struct {
	table   *Table
	guests  *guests
	records *records.Manager
	owned   bool // records were made here, so are closed here
}

// NewServer returns a server for the node with id self. Close it when its lookups
// and its upkeep are over.
func NewServer(self ID, opts ...Option) (*Server, error) {
	cfg := defaults()
	for _, opt := range opts {
		if opt == nil {
			return nil, errors.New("routing: a nil option")
		}
		if err := opt(&cfg); err != nil {
			return nil, fmt.Errorf("routing option: %w", err)
		}
	}
	s := &Server{
		table:   NewTable(self, cfg.bucketSize),
		guests:  newGuests(self),
		records: cfg.records,
	}
	s.table.limit, s.table.tracer = cfg.limit, cfg.tracer
	if s.records == nil {
		own, err := records.New()
		if err != nil {
			return nil, fmt.Errorf("own records: %w", err)
		}
		s.records, s.owned = own, true
	}
	return s, nil
}

// Close closes the records, unless they are the caller's ([WithRecords]). Further
// calls return what the first did. The server must not be used afterwards.
func (s *Server) Close() error {
	if !s.owned {
		return nil
	}
	return s.records.Close()
}

// Records returns what this node keeps for others, and of its own.
func (s *Server) Records() *records.Manager {
	return s.records
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
// nearest to target of all confirmed contacts and guests, nearest first. A node is named
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
	near.skip = func(c *Contact) bool { return !c.confirmed() }
	s.table.buckets.collect(&near)
	near.skip = s.table.holds
	s.guests.collect(&near)
	return near.contacts()
}

// Table returns the k-buckets that the contacts are in. Guests are not among them.
func (s *Server) Table() *Table { return s.table }

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
