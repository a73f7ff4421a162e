package routing

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

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

	connected atomic.Pointer[func(peer.ID) bool] // nil where that is not known
	seenIP    atomic.Pointer[func(peer.ID) netip.Addr]
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
	s.table.limits, s.table.tracer = cfg.limits, cfg.tracer
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

// AttachGuest counts an Erlang node as connected until detach is called; calling
// that again does nothing. Guests are named to nobody: nothing proves that one is
// where it says, and Erlang nodes must not know each other. It fails with
// [ErrSelf], [ErrNotErlang] or [ErrGuestsFull].
func (s *Server) AttachGuest(c Contact) (detach func(), err error) {
	return s.guests.attach(c)
}

// MaxErlang is how many Erlang contacts a list for a libp2p peer names at most.
const MaxErlang = 4

// FindNode returns the contacts to name to a libp2p peer: the [BucketSize] libp2p
// contacts nearest to target and, in places that they leave free, the nearest of
// the Erlang ones, [MaxErlang] at most; all of them confirmed, nearest first. Of one IP
// group more than its share are among them only in places that nobody else takes.
// Those with the ids of except are left out, which is for whoever asks. target may
// have any length, see [IDFromBytes].
func (s *Server) FindNode(target []byte, except ...ID) []Contact {
	id := IDFromBytes(target)
	s.table.mu.RLock()
	defer s.table.mu.RUnlock()
	near := s.table.listed(id, BucketSize, func(c *Contact) bool {
		return c.isErlang() || !c.confirmed() || slices.Contains(except, c.ID)
	})
	if free := min(BucketSize-len(near.found), MaxErlang); free > 0 && len(s.table.endpoints) > 0 {
		beside := s.table.listed(id, free, func(c *Contact) bool {
			return c.isPeer() || !c.confirmed() || slices.Contains(except, c.ID)
		})
		near.limit, near.skip, near.perGroup = BucketSize, nil, 0
		for _, f := range beside.found {
			near.offer(f.contact)
		}
	}
	return near.contacts()
}

// GatewaySeen is how lately a contact that is not connected must have spoken to be
// named to Erlang nodes, which never forget one.
const GatewaySeen = 2 * time.Minute

// SetConnected has f tell whether a peer is connected: one that is not is named and
// asked with more care, as nobody is told when it dies. Until then, and where f is
// nil, all count as connected. f may be called with the table locked: it must not use it.
func (s *Server) SetConnected(f func(peer.ID) bool) {
	if f == nil {
		s.connected.Store(nil)
		return
	}
	s.connected.Store(&f)
}

// Connected reports whether a contact is connected, as far as that is known; an Erlang
// one always is.
func (s *Server) Connected(c Contact) bool {
	f := s.connected.Load()
	return f == nil || c.IsErlang() || (*f)(c.Peer)
}

// NamesGateway reports whether Erlang nodes may be told of a contact now: it is a
// gateway (see [Contact.IsGateway]), and is connected or has spoken within
// [GatewaySeen].
func (s *Server) NamesGateway(c Contact) bool {
	return c.isGateway() && (time.Since(c.LastSeen) < GatewaySeen || s.Connected(c))
}

// FindGateways returns the contacts to name to an Erlang node: the [BucketSize]
// nearest to target of the libp2p contacts that can be dialled by their endpoints,
// nearest first, without those of except. See [Server.NamesGateway].
func (s *Server) FindGateways(target []byte, except ...ID) []Contact {
	s.table.mu.RLock()
	defer s.table.mu.RUnlock()
	near := s.table.listed(IDFromBytes(target), BucketSize, func(c *Contact) bool {
		return c.isErlang() || !s.NamesGateway(*c) || slices.Contains(except, c.ID)
	})
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
