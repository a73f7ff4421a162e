package server

import (
	"time"

	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// Dialect is what differs between the transports that one serving loop speaks
// on. It is a value: there is no second path.
type Dialect struct {
	// Name tells the transport apart in metrics: "libp2p" or "macula".
	Name string
	// Extended adds what Macula's own frames do not have: the multiaddrs of a
	// node, the rest of a value's life, the realm in the answer to CONNECT.
	Extended bool
	// NodesOnMiss answers a FIND_VALUE miss with the nearest nodes instead of
	// with an empty list.
	NodesOnMiss bool
	// TextsAsBin rewrites every str of a value that comes in as bin.
	TextsAsBin bool
	// GatewaysOnce names each gateway once, and never this node, on a stream
	// that has CONNECTed.
	GatewaysOnce bool
	// PeersAlone names libp2p peers alone, and those by an endpoint at which they
	// were seen: Erlang nodes that know each other stall and crash each other.
	PeersAlone bool
	// GatewayKeys takes what is stored under a key by which a gateway registers.
	GatewayKeys bool
	// Harmless leaves values out of replies that would crash an Erlang node.
	Harmless bool
	// Proxied has this node act in the network for who stores and asks here only:
	// what is stored is replicated, and what is asked for is answered with what
	// others have too.
	Proxied bool
	// FirstPacket is how long a FIND_VALUE_REPLY may be, in bytes of the whole
	// frame, on a stream that never CONNECTed; 0 for MaxFindValueReply.
	FirstPacket int
	// Idle is after how long a stream on which nothing comes is reset; 0 for
	// never.
	Idle time.Duration
	// RelayRequests takes the relay_request that an Erlang client sends without a frame
	// around it, as the first of a stream, for a frame of no type.
	RelayRequests bool
	// KeepConnected lets a stream on which a CONNECT came live as long as its
	// connection, whatever comes on it and however slowly it is read: an Erlang
	// node answers each end of such a stream with several new connections.
	KeepConnected bool
}

// LibP2P returns the dialect of /macula/dht/1.0.
func LibP2P() Dialect {
	return Dialect{Name: "libp2p", Extended: true, NodesOnMiss: true, TextsAsBin: true, Idle: proto.ServerIdle}
}

// What streams of Erlang nodes are allowed (docs/PROTOCOL.md, names and limits).
const (
	// ErlangIdle is after how long a stream on which nothing comes is reset, and
	// a connection without streams closed.
	ErlangIdle = 180 * time.Second
	// FirstPacket is how long a FIND_VALUE_REPLY may be, in bytes of the whole
	// frame, on a stream that never CONNECTed: an Erlang lookup takes the first
	// packet as all.
	FirstPacket = 1100
)

// Erlang returns the dialect of ALPN macula: Macula's own frames and nothing more,
// an empty list on a miss, values byte for byte.
func Erlang() Dialect {
	return Dialect{
		Name:          "macula",
		GatewaysOnce:  true,
		PeersAlone:    true,
		GatewayKeys:   true,
		Harmless:      true,
		Proxied:       true,
		FirstPacket:   FirstPacket,
		Idle:          ErlangIdle,
		RelayRequests: true,
		KeepConnected: true,
	}
}
