// Package proto is what both ends of /macula/dht/1.0 share: the protocol's name,
// its limits, the codes of its resets, and how asking somebody can fail. It
// opens no streams; package server answers, package client asks.
package proto

import (
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/protocol"
)

const (
	// ProtocolID is the stream protocol of the DHT.
	ProtocolID protocol.ID = "/macula/dht/1.0"
	// ServiceName names the protocol to libp2p's resource manager.
	ServiceName = "macula.dht"
	// DefaultRealm is the realm of a node that is not told another.
	DefaultRealm = "macula.default"
)

// Waits and limits of the protocol (docs/PROTOCOL.md, names and limits).
const (
	// ClientIdle is after how long the client closes a stream that it does not
	// use.
	ClientIdle = 30 * time.Second
	// ServerIdle is after how long the server resets a stream on which nothing
	// comes.
	ServerIdle = 120 * time.Second
	// FrameTimeout is how long the rest of a frame may take after its first
	// byte, and how long a reply may wait to be taken.
	FrameTimeout = 10 * time.Second
	// MaxFindValueReply is how long a FIND_VALUE_REPLY may be, in bytes.
	MaxFindValueReply = 256 << 10
	// MaxGateways is how many gateways one _dht.list_gateways names.
	MaxGateways = 20
)

// ResetCode says in a stream's reset why it ended. The codes are published and
// stable.
type ResetCode uint32

// The reset codes.
const (
	ResetBadVersion ResetCode = 1 // a frame of another version
	ResetTooLarge   ResetCode = 2 // a payload above 1 MiB
	ResetBadMsgpack ResetCode = 3 // a payload that is broken or cut short
	ResetNotMap     ResetCode = 4 // a payload that is not a map
	ResetTimeout    ResetCode = 5 // half a frame, nothing at all, or no reply
	ResetWrongReply ResetCode = 6 // a reply that does not fit its request
	ResetRefused    ResetCode = 7 // over budget, wrong realm, or banned
	ResetShutdown   ResetCode = 8 // the node is stopping, or has become a client
	// ResetConnectFirst: the node answers nobody who has not CONNECTed, and there is no
	// answer that says so to what was asked.
	ResetConnectFirst ResetCode = 9

	// ResetGone is no code that is sent: the peer or its connection ended the
	// stream first.
	ResetGone ResetCode = 0
	// MaxResetCode is the highest code.
	MaxResetCode = ResetConnectFirst
)

func (c ResetCode) String() string {
	switch c {
	case ResetBadVersion:
		return "bad version"
	case ResetTooLarge:
		return "too large"
	case ResetBadMsgpack:
		return "bad MessagePack"
	case ResetNotMap:
		return "not a map"
	case ResetTimeout:
		return "timeout"
	case ResetWrongReply:
		return "wrong reply"
	case ResetRefused:
		return "refused"
	case ResetShutdown:
		return "shutting down"
	case ResetConnectFirst:
		return "CONNECT first"
	default:
		return fmt.Sprintf("reset %d", uint32(c))
	}
}
