package routing

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/addressing"
)

// Contact is a node that can be named to others and, once verified, asked.
//
// Contacts that come out of this package share their NodeID and Addrs: do not
// modify them.
type Contact struct {
	ID       ID             // in 256 bits, for distance
	NodeID   []byte         // as sent, echoed verbatim
	Peer     peer.ID        // libp2p identity; empty for an Erlang node
	Addrs    []ma.Multiaddr // libp2p addresses, without /p2p; of an Erlang node the one that its endpoint was verified at; see ProvenAfter
	Endpoint string         // "https://host:port"; may be empty for a libp2p peer
	// ClientID is the other name of an Erlang node: the digest of its certificate's
	// key, in 64 hexadecimal digits, by which it goes as a client. Its connection
	// proves it, so two contacts with one are one node. Empty where not known.
	ClientID string
	// EndpointSeen says that a libp2p peer was seen at the IP address of its endpoint.
	// Another endpoint may be anybody's; see IsGateway.
	EndpointSeen bool
	// SeenAt is the address of a libp2p peer's connection over QUIC, where it is known.
	SeenAt netip.AddrPort
	// SeenIP is the IP address at which a contact was verified: that of its connection, a
	// relay's where it came by one, as addressing.SeenIP has it. Invalid where not known.
	SeenIP   netip.Addr
	Verified bool      // it has proved that it is where it says
	LastSeen time.Time // when it last spoke to us
	// Answered is when it last answered a question of ours; zero where it has not yet.
	Answered time.Time
	// StoreID names what a libp2p peer has stored since that was begun, in at most
	// [MaxStoreID] bytes: with another one it has come back empty. Nil where it told
	// none.
	StoreID []byte

	group    netip.Prefix   // of SeenIP or what it claims, as the table sees it; zero for none
	since    time.Time      // since when what it claims elsewhere waits, see proveAddrs; zero where nothing does
	unproven []ma.Multiaddr // that it claims elsewhere
	crowded  bool           // its group has its share without it: it gives way to others
	failures int            // questions in a row that it left unanswered
	failedAt time.Time      // when the last of them was noted
	doubted  bool           // a lookup did not wait for its answer, or its connection ended
	down     time.Time      // since when it is doubtful; zero where it is not
}

// MaxStoreID is the longest StoreID, in bytes.
const MaxStoreID = 64

// IsErlang reports whether the contact is an Erlang node: it has no peer id and
// is reached by its endpoint alone.
func (c Contact) IsErlang() bool {
	return c.Peer == ""
}

// namedByClientID reports whether the contact's node id is its ClientID: its
// hexadecimal digits or, as of nodes from 0.20.21 on, the 32 bytes themselves.
func (c *Contact) namedByClientID() bool {
	return strings.EqualFold(string(c.NodeID), c.ClientID) || hex.EncodeToString(c.NodeID) == c.ClientID
}

// isErlang and isPeer tell whom to leave out.
func (c *Contact) isErlang() bool { return c.Peer == "" }
func (c *Contact) isPeer() bool   { return c.Peer != "" }

// Failures returns how many questions in a row the contact left unanswered, or
// answered wrongly; it is out of the table at [MaxFailures].
func (c Contact) Failures() int { return c.failures }

// Doubtful reports whether it is to be asked for a sign of life, though it spoke
// not long ago: it left the last question unanswered, let a lookup wait, or its
// connection ended. Until it gives one, lookups ask it last.
func (c Contact) Doubtful() bool { return c.failures > 0 || c.doubted }

// Lost reports whether it is doubtful as its connection ended, or as it let a lookup
// wait, and has not spoken since.
func (c Contact) Lost() bool { return c.doubted }

// Confirmed reports whether the contact may be named to others: it has proved that
// it is where it says, and nothing since has made that doubtful.
func (c Contact) Confirmed() bool { return c.confirmed() }

func (c *Contact) confirmed() bool { return c.Verified && c.failures == 0 && !c.doubted }

// doubt notes that the contact is doubtful from now on, if it was not before.
func (c *Contact) doubt() {
	if c.down.IsZero() {
		c.down = time.Now()
	}
}

// settle notes that nothing speaks against the contact any more.
func (c *Contact) settle() {
	c.failures, c.failedAt, c.doubted, c.down = 0, time.Time{}, false, time.Time{}
}

// wasAway reports whether the contact, which has just spoken, was out of reach for
// so long that it may have missed records.
func (c *Contact) wasAway() bool {
	return !c.down.IsZero() && time.Since(c.down) >= AwayAfter
}

// IsGateway reports whether Erlang nodes may be told of the contact, which dial what
// they are told of and must not know each other: a libp2p peer whose endpoint has
// the IP address at which it was seen and the UDP port of an address of its own, and
// is where its connection was seen. Our nodes serve both on that socket; of another
// endpoint anybody could say that it is his.
func (c Contact) IsGateway() bool { return c.isGateway() }

func (c *Contact) isGateway() bool {
	if !c.confirmed() || c.isErlang() || !c.EndpointSeen {
		return false
	}
	e, err := endpoints.Parse(c.Endpoint)
	if err != nil {
		return false
	}
	ip, isIP := e.Addr()
	at := netip.AddrPortFrom(ip, e.Port)
	seen := !c.SeenAt.IsValid() || c.SeenAt == at
	return isIP && seen && slices.ContainsFunc(c.Addrs, func(a ma.Multiaddr) bool {
		_, err := a.ValueForProtocol(ma.P_UDP)
		listen := addressing.AddrPortOf(a)
		return err == nil && netip.AddrPortFrom(listen.Addr().Unmap(), listen.Port()) == at
	})
}

// lostStore reports whether the contact, which is back as now, has another store.
func (c *Contact) lostStore(now *Contact) bool {
	return c.StoreID != nil && now.StoreID != nil && !bytes.Equal(c.StoreID, now.StoreID)
}

// clone copies what the caller could still write to.
func (c Contact) clone() *Contact {
	c.NodeID = bytes.Clone(c.NodeID)
	c.Addrs = slices.Clone(c.Addrs)
	c.StoreID = bytes.Clone(c.StoreID)
	if len(c.StoreID) > MaxStoreID {
		c.StoreID = nil
	}
	return &c
}

// sameNode reports whether c and o are one node: one peer, one endpoint, or one
// certificate.
func (c *Contact) sameNode(o *Contact) bool {
	if c.IsErlang() && o.IsErlang() {
		return c.Endpoint == o.Endpoint || c.ClientID != "" && c.ClientID == o.ClientID
	}
	return c.Peer == o.Peer
}

// yieldsTo reports whether c, which holds an id or an endpoint, gives it up to
// o, which claims it too. A peer id proves its id, so a verified libp2p contact
// yields to nobody else; what is verified never yields to what is not.
func (c *Contact) yieldsTo(o *Contact) bool {
	return !c.Verified || (c.IsErlang() && o.Verified)
}
