package schema

import "time"

// Status is how a node is.
type Status struct {
	PID     int       `json:"pid"`
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	Uptime  float64   `json:"uptime"` // seconds
	DataDir string    `json:"data_dir"`

	PeerID    string   `json:"peer_id"`
	NodeID    string   `json:"node_id"`
	Realm     string   `json:"realm"`
	Mode      string   `json:"mode"` // towards libp2p peers, as it is now: server or client
	Addrs     []string `json:"addrs"`
	Endpoints []string `json:"endpoints"`
	Contacts  int      `json:"contacts"`
	API       string   `json:"api,omitempty"` // where the local API is reached over TCP; empty where it is not

	// Bootstrap is how far the node is with each address that it was told to begin at.
	Bootstrap []Bootstrap `json:"bootstrap"`

	Records Records `json:"records"`
	Store   Store   `json:"store"`
	Memory  Memory  `json:"memory"`
	Refused Refused `json:"refused,omitzero"`

	// Problems is why the node is not well, in words for its operator; empty where it is.
	Problems []string `json:"problems"`
}

// The states of a Bootstrap.
const (
	BootstrapTrying     = "trying"      // it has not answered, or was lost
	BootstrapJoined     = "joined"      // the node is in its network
	BootstrapOtherRealm = "other_realm" // it serves another realm
)

// Bootstrap is an address that a node was told to begin at.
type Bootstrap struct {
	Addr  string    `json:"addr"`
	State string    `json:"state"`
	Since time.Time `json:"since"`           // when the state began
	Error string    `json:"error,omitempty"` // why the last try failed; empty where it did not, or was not over yet
}

// Refused counts what a node has refused since its start, by why it did.
type Refused struct {
	Denied       uint64 `json:"denied,omitempty"`        // connections: the deny list has them
	NotAllowed   uint64 `json:"not_allowed,omitempty"`   // connections: the allow list has them not
	Handshakes   uint64 `json:"handshakes,omitempty"`    // connections: too many in a short time, or under way
	GaveWay      uint64 `json:"gave_way,omitempty"`      // connections: closed as others needed their place
	ConnectFirst uint64 `json:"connect_first,omitempty"` // requests to a strict node before a CONNECT
	Busy         uint64 `json:"busy,omitempty"`          // requests over a budget
	// TurnedAway is CONNECTs by the reason that was sent, such as realm_mismatch.
	TurnedAway map[string]uint64 `json:"turned_away,omitempty"`
}

// Records is what a node keeps.
type Records struct {
	Records int64 `json:"records"`
	Keys    int64 `json:"keys"`
	Bytes   int64 `json:"bytes"` // as accounted: values, keys and what each record costs beside
	Limit   int64 `json:"limit"` // of Bytes
}

// Store is where it keeps them.
type Store struct {
	Kind      string `json:"kind"`                 // disk, memory, or other: what an embedding program gave
	Dir       string `json:"dir,omitempty"`        // of kind disk
	DiskBytes int64  `json:"disk_bytes,omitempty"` // that its files have
	DiskLimit int64  `json:"disk_limit,omitempty"` // of DiskBytes
	Failing   string `json:"failing,omitempty"`    // why nothing new is acknowledged; empty where it is
	Unread    string `json:"unread,omitempty"`     // a store in the data directory that the node leaves alone, as it keeps its records in memory
}

// Memory is what the node's process has of the memory, in bytes.
type Memory struct {
	Used    int64 `json:"used"`            // by Go: all but the program's own text
	Limit   int64 `json:"limit,omitempty"` // that Go's garbage collector keeps Used to as far as it can; 0 for none
	Records int64 `json:"records"`         // that records may cost, of Limit
	Buffers int64 `json:"buffers"`         // that peers may have buffered, of Limit
}

// Health is whether a node is well, and whether it serves.
type Health struct {
	Well     bool     `json:"well"`
	Ready    bool     `json:"ready"` // it serves: from its start until it is closed
	Problems []string `json:"problems"`
}

// Version is which program answers.
type Version struct {
	Version string `json:"version"`
	Go      string `json:"go"`
}
