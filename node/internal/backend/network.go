package backend

import (
	"cmp"
	"encoding/hex"
	"net/netip"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"github.com/quic-go/quic-go"

	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
	"github.com/macula-mesh/macula-node/node/api/schema"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// Identity implements api.State.
func (b *Backend) Identity() schema.Identity {
	s := b.Status()
	id := schema.Identity{PeerID: s.PeerID, NodeID: s.NodeID, Realm: s.Realm, Mode: s.Mode, Version: b.Version,
		Addrs: []schema.Address{}, Endpoints: []schema.Address{}}
	listened, _ := b.Host.Network().InterfaceListenAddresses()
	reached := b.reached()
	for _, a := range b.Host.Addrs() {
		address := schema.Address{Addr: a.Encapsulate(p2p(b.Host.ID())).String(), Known: schema.AddressObserved}
		switch {
		case isRelayed(a):
			address.Known = schema.AddressRelay
		case slices.ContainsFunc(listened, a.Equal):
			address.Known = schema.AddressListened
		}
		if address.Known != schema.AddressRelay {
			address.Reachable = reached(a)
		}
		id.Addrs = append(id.Addrs, address)
	}
	for i, e := range b.Endpoints() {
		id.Endpoints = append(id.Endpoints, schema.Address{Addr: e, Known: b.endpointKnown(i, e, listened)})
	}
	return id
}

func p2p(id peer.ID) ma.Multiaddr { return ma.StringCast("/p2p/" + id.String()) }

func isRelayed(a ma.Multiaddr) bool {
	_, err := a.ValueForProtocol(ma.P_CIRCUIT)
	return err == nil
}

// reached says whether the public reaches an address, as AutoNAT v2 has found out.
func (b *Backend) reached() func(ma.Multiaddr) string {
	var reachable, unreachable []ma.Multiaddr
	if confirmer, ok := b.Host.(interface {
		ConfirmedAddrs() (reachable, unreachable, unknown []ma.Multiaddr)
	}); ok {
		reachable, unreachable, _ = confirmer.ConfirmedAddrs()
	}
	return func(a ma.Multiaddr) string {
		switch {
		case !manet.IsPublicAddr(a):
			return schema.Private
		case slices.ContainsFunc(reachable, a.Equal):
			return schema.Reachable
		case slices.ContainsFunc(unreachable, a.Equal):
			return schema.Unreachable
		}
		return schema.Unknown
	}
}

// endpointKnown says how the endpoint at a place of the list is known.
func (b *Backend) endpointKnown(i int, text string, listened []ma.Multiaddr) string {
	if i == 0 && b.Hostname != "" {
		return schema.AddressAnnounced
	}
	e, err := endpoints.Parse(text)
	if err == nil {
		ip, err := netip.ParseAddr(e.Host)
		if err == nil && slices.ContainsFunc(listened, func(a ma.Multiaddr) bool {
			at, err := manet.ToIP(a)
			own, ok := netip.AddrFromSlice(at)
			return err == nil && ok && own.Unmap() == ip.Unmap()
		}) {
			return schema.AddressListened
		}
	}
	return schema.AddressObserved
}

// Peers implements api.Network.
func (b *Backend) Peers() []schema.Peer {
	clients, table := b.clients(), b.Service.Routing()
	all := []schema.Peer{}
	for _, id := range b.Host.Network().Peers() {
		conns := b.Host.Network().ConnsToPeer(id)
		if len(conns) == 0 {
			continue
		}
		stat := conns[0].Stat()
		p := schema.Peer{Kind: schema.KindLibp2p, PeerID: id.String(), NodeID: routing.IDFromPeer(id).String(),
			Addr: conns[0].RemoteMultiaddr().String(), Direction: "in", Since: at(stat.Opened), LatencyMS: b.latency(id)}
		if stat.Direction == network.DirOutbound {
			p.Direction = "out"
		}
		if spoken, err := b.Host.Peerstore().SupportsProtocols(id, proto.ProtocolID); err == nil && len(spoken) > 0 {
			p.Kind = schema.KindMacula
		}
		if agent, err := b.Host.Peerstore().Get(id, "AgentVersion"); err == nil {
			p.Agent, _ = agent.(string)
		}
		if c, known := table.Contact(routing.IDFromPeer(id)); known {
			b.place(&p, c)
			p.Kind = schema.KindMacula
		}
		p.Client = slices.ContainsFunc(clients, func(c server.Client) bool { return c.Newest.Peer == id })
		all = append(all, p)
	}
	for _, c := range clients {
		if c.Newest.Peer != "" {
			continue
		}
		p := schema.Peer{Kind: schema.KindErlang, NodeID: nodeID(c.NodeID), Addr: c.Newest.Remote.String(), Direction: "in", Client: true}
		if known, is := table.Contact(routing.IDFromBytes(c.NodeID)); is {
			b.place(&p, known)
		}
		all = append(all, p)
	}
	slices.SortFunc(all, func(x, y schema.Peer) int {
		return cmp.Or(cmp.Compare(y.Kind, x.Kind), cmp.Compare(x.PeerID, y.PeerID), cmp.Compare(x.NodeID, y.NodeID))
	})
	return all
}

// place enters what the table knows of a peer.
func (b *Backend) place(p *schema.Peer, c routing.Contact) {
	bucket := b.Service.Routing().Self().CommonPrefixLen(c.ID)
	p.Bucket, p.LastSeen = &bucket, at(c.LastSeen)
}

// latency is the smoothed round trip of the connection to a peer, in milliseconds; 0 where
// it is not known.
func (b *Backend) latency(id peer.ID) float64 {
	for _, c := range b.Host.Network().ConnsToPeer(id) {
		var over *quic.Conn
		if c.As(&over) && over != nil {
			return ms(over.ConnectionStats().SmoothedRTT)
		}
	}
	return 0
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// at is a time, nil for none.
func at(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Millisecond)
	return &t
}

// nodeID shows a node id as it was sent: Erlang clients may send its hexadecimal digits.
func nodeID(id []byte) string {
	if len(id) == 2*len(routing.ID{}) {
		if _, err := hex.DecodeString(string(id)); err == nil {
			return string(id)
		}
	}
	return hex.EncodeToString(id)
}

// Table implements api.Network.
func (b *Backend) Table() schema.Table {
	self := b.Service.Routing().Self()
	contacts := b.Service.Routing().Contacts()
	slices.SortFunc(contacts, func(x, y routing.Contact) int { return self.CompareDistance(x.ID, y.ID) })
	t := schema.Table{NodeID: self.String(), Contacts: b.contacts(contacts)}
	if size, known := b.Service.NetworkSize(); known {
		t.Size = size
	}
	return t
}

func (b *Backend) contacts(all []routing.Contact) []schema.Contact {
	out := make([]schema.Contact, len(all))
	for i, c := range all {
		out[i] = b.contact(c)
	}
	return out
}

func (b *Backend) contact(c routing.Contact) schema.Contact {
	s := schema.Contact{Kind: kindOf(c), NodeID: c.ID.String(), Endpoint: c.Endpoint, Bucket: b.Service.Routing().Self().CommonPrefixLen(c.ID),
		State: schema.ContactDoubtful, Connected: b.Service.Routing().Connected(c), LastSeen: at(c.LastSeen), Answered: at(c.Answered), Failures: c.Failures()}
	if c.Confirmed() {
		s.State = schema.ContactConfirmed
	}
	if c.Peer != "" {
		s.PeerID, s.LatencyMS = c.Peer.String(), b.latency(c.Peer)
	}
	for _, a := range c.Addrs {
		s.Addrs = append(s.Addrs, a.String())
	}
	return s
}

func kindOf(c routing.Contact) string {
	if c.IsErlang() {
		return schema.KindErlang
	}
	return schema.KindMacula
}

// UplinkList implements api.Network.
func (b *Backend) UplinkList() []schema.Uplink {
	all := []schema.Uplink{}
	for _, s := range b.Uplinks.Status() {
		u := schema.Uplink{Gateway: s.Gateway.String(), State: string(s.State), Since: s.Since, Next: at(s.Next)}
		if s.Peer != "" {
			u.PeerID = s.Peer.String()
		}
		if s.Err != nil {
			u.Error = s.Err.Error()
		}
		all = append(all, u)
	}
	return all
}

func (b *Backend) clients() []server.Client { return b.Service.Handlers().Mux().Clients().All() }

// Clients implements api.Network.
func (b *Backend) Clients() []schema.Client {
	all := []schema.Client{}
	for _, c := range b.clients() {
		s := schema.Client{NodeID: nodeID(c.NodeID), Dialect: c.Newest.Dialect.Name, Streams: c.Streams}
		if c.Newest.Peer != "" {
			s.PeerID = c.Newest.Peer.String()
		}
		if c.Newest.Remote.IsValid() {
			s.Addr = c.Newest.Remote.String()
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(x, y schema.Client) int { return cmp.Compare(x.NodeID, y.NodeID) })
	return all
}
