package interest_test

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/internal/fair"
	"github.com/macula-mesh/macula-node/protocols/maculadht/provider"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/addressing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
	"github.com/macula-mesh/macula-node/protocols/pubsub/internal/interest"
)

// contactAt returns a contact that was seen at an address: a libp2p peer with a gateway, or
// an Erlang gateway.
func contactAt(t *testing.T, ip string, erlang bool) routing.Contact {
	t.Helper()
	c := routing.Contact{Endpoint: fmt.Sprintf("https://%s:9443", ip), SeenIP: netip.MustParseAddr(ip), Verified: true, LastSeen: time.Now(), Answered: time.Now()}
	if erlang {
		c.NodeID = fmt.Appendf(nil, "%x", sha256.Sum256([]byte(ip)))
		c.ID = routing.IDFromBytes(c.NodeID)
		return c
	}
	_, public, err := crypto.GenerateEd25519Key(rand.Reader)
	require.NoError(t, err)
	c.Peer, err = peer.IDFromPublicKey(public)
	require.NoError(t, err)
	c.ID = routing.IDFromPeer(c.Peer)
	c.NodeID = c.ID[:]
	c.Addrs = []ma.Multiaddr{ma.StringCast(fmt.Sprintf("/ip4/%s/udp/9443/quic-v1", ip))}
	c.EndpointSeen = true
	return c
}

// recordOf returns a contact's record, or one that names it as a client's gateway.
func recordOf(t *testing.T, c routing.Contact, client string) values.Value {
	t.Helper()
	id, addrs := c.NodeID, addressing.EncodePeerAddrs(c.Peer, c.Addrs)
	if client != "" {
		id, addrs = []byte(client), nil
	}
	v, err := values.Parse(provider.Subscription(id, c.Endpoint, addrs))
	require.NoError(t, err)
	return v
}

// Who is sent a topic has said so: a record that anybody may have stored sends it to no
// libp2p peer that it names, and to so many gateways only.
func TestWhoIsSent(t *testing.T) {
	const name = "a.topic"
	stranger := records.Source{Name: "192.0.2.66"}
	type set struct {
		contacts int  // that there are, and a record of each
		erlang   bool // they are Erlang gateways
		client   bool // the records are of clients at their endpoints
		proved   bool
		own      bool // each has stored its own over its session
		by       func(c routing.Contact) records.Source
		want     int
	}
	gateways := func(c routing.Contact) records.Source { return records.Source{Name: c.SeenIP.String()} }
	one := func(routing.Contact) records.Source { return stranger }
	group := func(c routing.Contact) records.Source {
		return records.Source{Name: "peer " + c.SeenIP.String(), Group: "192.0.2.0/24"}
	}
	for kind, test := range map[string]set{
		"a stranger's of libp2p peers":             {contacts: 40, by: one},
		"proved":                                   {contacts: 40, proved: true, by: one, want: 40},
		"of hosts that show no key":                {contacts: 40, own: true, by: func(c routing.Contact) records.Source { return records.Source{Name: c.Peer.String()} }, want: 40},
		"a stranger's of clients of ours":          {contacts: 40, client: true, by: one, want: 8},
		"a group's of clients of ours":             {contacts: 40, client: true, by: group, want: 8},
		"a stranger's of Erlang gateways":          {contacts: 40, erlang: true, by: one, want: 32},
		"a group's of Erlang gateways":             {contacts: 40, erlang: true, by: group, want: 32},
		"Erlang gateways' own":                     {contacts: 40, erlang: true, by: gateways, want: 40},
		"a stranger's of Erlang gateways' clients": {contacts: 40, erlang: true, client: true, by: one, want: 32},
	} {
		for _, looked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, looked up %t", kind, looked), func(t *testing.T) {
				look(t, func(t *testing.T, n *network, all *interest.Interests) {
					for i, admitted := 0, 0; admitted < test.contacts; i++ {
						c := contactAt(t, fmt.Sprintf("%d.%d.0.1", 20+i%100, 1+i/100), test.erlang)
						if n.routing.Admit(c) != nil {
							continue // its bucket is full
						}
						admitted++
						client := ""
						if test.client {
							client = fmt.Sprintf("client %025d", i)
						}
						v := recordOf(t, c, client)
						var proof *records.Proof
						if test.proved {
							proof = &records.Proof{Envelope: []byte("sealed"), Sequence: 1, Expires: time.Now().Add(time.Hour).UnixMilli()}
						}
						if looked {
							n.found = append(n.found, lookup.FoundValue{Value: v, Expires: time.Now().Add(time.Hour), Proof: proof})
							continue
						}
						put := records.Put{Key: provider.Key(name), Value: v.Raw, NodeID: v.NodeID, TTL: time.Hour, Proof: proof, Source: test.by(c)}
						if test.own {
							put.From = c.NodeID
						}
						require.NoError(t, n.routing.Records().Store(t.Context(), put))
					}
					want := test.want
					switch {
					case looked && test.own:
						want = 0 // a holder's word
					case looked && test.erlang:
						want = 32 // of nobody it is known who has stored it
					}
					of := all.Of(name)
					if looked {
						of.Want(time.Now(), fair.Payer{})
						time.Sleep(2 * took)
						synctest.Wait()
					}
					require.Len(t, of.Nodes(time.Now()), want)
				})
			})
		}
	}
}
