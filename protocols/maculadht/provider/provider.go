// Package provider has the records by which services are offered and found: what is
// written for an [Offer], and the [Provider] that is read.
package provider

import (
	"bytes"
	"crypto/sha256"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/addressing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

// Key returns the key of a service or a topic: the SHA-256 of its name.
func Key(name string) []byte {
	sum := sha256.Sum256([]byte(name))
	return sum[:]
}

// Provider is who offers a service, or has subscribed to a topic.
type Provider struct {
	// NodeID names it: 32 bytes for a node of ours, 64 hexadecimal digits, as
	// text, for an Erlang node. Nil where the value names none.
	NodeID []byte
	// Endpoint is where it is reached, such as "https://host:port"; it is as the
	// provider wrote it, be it empty.
	Endpoint string
	// Metadata is what the provider tells of the service, a map; nil for nothing.
	Metadata wire.Raw
	// Peer is the provider as libp2p reaches it, for host.Connect: empty where the record
	// has no addresses, or those of another than NodeID.
	Peer peer.AddrInfo
	// Expires is when the record's life ends unless it is published again.
	Expires time.Time
	// Proved says that the record is NodeID's, which has sealed it with its libp2p key.
	// Otherwise anybody may have stored it. What Erlang nodes store is not proved.
	Proved bool
	// Value is the whole record.
	Value wire.Raw
}

// Of returns the provider that a value names.
func Of(v lookup.FoundValue) Provider {
	p := Provider{NodeID: v.NodeID, Expires: v.Expires, Proved: v.Proof != nil, Value: v.Raw}
	if endpoint, ok := v.Raw.Field("endpoint"); ok {
		text, _ := endpoint.Bytes()
		p.Endpoint = string(text)
	}
	if metadata, ok := v.Raw.Field("metadata"); ok && metadata.Kind() == wire.Map {
		p.Metadata = metadata
	}
	p.Peer = peerOf(v)
	return p
}

// peerOf returns the peer that a record's addrs name, if it is the record's provider.
func peerOf(v lookup.FoundValue) peer.AddrInfo {
	addrs, ok := v.Raw.Field("addrs")
	if !ok || addrs.Kind() != wire.Array {
		return peer.AddrInfo{}
	}
	var named wire.Node
	for a := range addrs.Elems() {
		if b, ok := a.Bytes(); ok && len(b) <= wire.MaxField && len(named.Addrs) < addressing.MaxContactAddrs {
			named.Addrs = append(named.Addrs, b)
		}
	}
	info := addressing.PeerOf(named)
	if info.ID == "" {
		return peer.AddrInfo{}
	}
	if id := routing.IDFromPeer(info.ID); !bytes.Equal(id[:], v.NodeID) {
		return peer.AddrInfo{}
	}
	return info
}
