package schema

import "time"

// Identity is who a node is, and where it is reached.
type Identity struct {
	PeerID  string `json:"peer_id"`
	NodeID  string `json:"node_id" doc:"64 hexadecimal digits"`
	Realm   string `json:"realm"`
	Mode    string `json:"mode" enum:"server,client" doc:"towards libp2p peers, as it is now"`
	Version string `json:"version"`
	// Addrs are the multiaddrs that libp2p peers are told, with /p2p.
	Addrs []Address `json:"addrs"`
	// Endpoints are those that Erlang nodes reach it by, the one that they are told first.
	Endpoints []Address `json:"endpoints"`
}

// How an address is known.
const (
	AddressListened  = "listened"  // an address of this machine that is listened on
	AddressObserved  = "observed"  // others see the node there, or its router says so
	AddressAnnounced = "announced" // the configuration says it
	AddressRelay     = "relay"     // a relay passes on what comes there
)

// Whether the public reaches an address.
const (
	Reachable   = "reachable"   // somebody who was asked to try has
	Unreachable = "unreachable" // nobody who was asked to try has
	Unknown     = "unknown"     // nobody has tried yet
	Private     = "private"     // it is no public address
)

// Address is one at which a node may be reached.
type Address struct {
	Addr      string `json:"addr"`
	Known     string `json:"known" enum:"listened,observed,announced,relay" doc:"how it is known"`
	Reachable string `json:"reachable,omitempty" enum:"reachable,unreachable,unknown,private" doc:"from the public, as AutoNAT says; not of a relay's"`
}

// Kinds of peers and contacts.
const (
	KindMacula = "macula" // a libp2p peer that speaks /macula/dht/1.0
	KindLibp2p = "libp2p" // a libp2p peer that does not, or has not said yet
	KindErlang = "erlang" // an Erlang node
)

// Peer is a node that this one has a connection to.
type Peer struct {
	Kind      string     `json:"kind" enum:"macula,libp2p,erlang"`
	NodeID    string     `json:"node_id,omitempty"`
	PeerID    string     `json:"peer_id,omitempty"`
	Addr      string     `json:"addr,omitempty" doc:"at the other end of the connection"`
	Direction string     `json:"direction,omitempty" enum:"in,out"`
	Since     *time.Time `json:"since,omitempty"`
	LatencyMS float64    `json:"latency_ms,omitempty" doc:"the round trip of the connection, smoothed; absent where it is not known"`
	LastSeen  *time.Time `json:"last_seen,omitempty" doc:"when it last spoke in the DHT"`
	Bucket    *int       `json:"bucket,omitempty" doc:"its place in the table; absent where it has none"`
	Client    bool       `json:"client,omitempty" doc:"it has CONNECTed on a stream that stays"`
	Agent     string     `json:"agent,omitempty" doc:"what it says that it runs"`
}

// Peers are all nodes that there is a connection to.
type Peers struct {
	Peers []Peer `json:"peers"`
}

// The states of a Contact.
const (
	ContactConfirmed = "confirmed" // it may be named to others
	ContactDoubtful  = "doubtful"  // it is to be asked for a sign of life
)

// Contact is a node of the table.
type Contact struct {
	Kind      string     `json:"kind" enum:"macula,erlang"`
	NodeID    string     `json:"node_id"`
	PeerID    string     `json:"peer_id,omitempty"`
	Addrs     []string   `json:"addrs,omitempty"`
	Endpoint  string     `json:"endpoint,omitempty"`
	Bucket    int        `json:"bucket" doc:"how many leading bits its id shares with this node's"`
	State     string     `json:"state" enum:"confirmed,doubtful"`
	Connected bool       `json:"connected"`
	LatencyMS float64    `json:"latency_ms,omitempty"`
	LastSeen  *time.Time `json:"last_seen,omitempty" doc:"when it last spoke"`
	Answered  *time.Time `json:"answered,omitempty" doc:"when it last answered a question"`
	Failures  int        `json:"failures,omitempty" doc:"questions in a row that it left unanswered"`
}

// Table is whom a node knows, nearest first.
type Table struct {
	NodeID   string    `json:"node_id"`
	Contacts []Contact `json:"contacts"`
	// Size is about how many nodes the network has, by the lookups of the last hour.
	Size float64 `json:"size,omitempty" doc:"about how many nodes the network has; absent where that is not known"`
}

// Uplink is how it stands with an Erlang gateway that the node was told to use.
type Uplink struct {
	Gateway string     `json:"gateway"`
	State   string     `json:"state" enum:"connecting,joined,used,peer,waiting,other_realm,self"`
	Since   time.Time  `json:"since"`
	Next    *time.Time `json:"next,omitempty" doc:"of the next try"`
	PeerID  string     `json:"peer_id,omitempty" doc:"of a macula-node that answers there"`
	Error   string     `json:"error,omitempty"`
}

// Uplinks are all of them, in the order in which they were named.
type Uplinks struct {
	Uplinks []Uplink `json:"uplinks"`
}

// Client is a node that has CONNECTed on a stream that stays.
type Client struct {
	NodeID  string `json:"node_id"`
	Dialect string `json:"dialect" enum:"libp2p,macula" doc:"macula is that of Erlang nodes"`
	PeerID  string `json:"peer_id,omitempty"`
	Addr    string `json:"addr,omitempty"`
	Streams int    `json:"streams" doc:"on which it has"`
}

// Clients are all of them.
type Clients struct {
	Clients []Client `json:"clients"`
}
