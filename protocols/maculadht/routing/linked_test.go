package routing

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// An Erlang node shows two ids: one in its PONG, and as a client the digest of its
// certificate. Whoever has dialled it knows that they are one node.
func TestOneErlangNodeOfTwoIDs(t *testing.T) {
	const name, address = "https://gw.example.org:9443", "https://10.0.0.7:9443"
	digest := strings.Repeat("a7", 32)
	contact := func(nodeID, endpoint, clientID string) Contact {
		return Contact{ID: IDFromBytes([]byte(nodeID)), NodeID: []byte(nodeID), Endpoint: endpoint, ClientID: clientID, Verified: true, LastSeen: time.Now()}
	}
	gateway := contact("its PONG has 32 bytes, as here..", name, digest)
	client := contact(digest, address, digest)
	other := contact("somebody else", address, strings.Repeat("b8", 32))

	tests := map[string]struct {
		add  []Contact
		want []Contact
	}{
		"the client is the gateway that is known":        {[]Contact{gateway, client}, []Contact{gateway}},
		"the gateway is the client that is known":        {[]Contact{client, gateway}, []Contact{gateway}},
		"in capitals as well":                            {[]Contact{gateway, contact(strings.ToUpper(digest), address, digest)}, []Contact{gateway}},
		"another endpoint of a known id takes its place": {[]Contact{gateway, contact(string(gateway.NodeID), address, digest)}, []Contact{contact(string(gateway.NodeID), address, digest)}},
		"an id of its operator's choice takes its place": {[]Contact{gateway, contact("my-node", address, digest)}, []Contact{contact("my-node", address, digest)}},
		"both the endpoint and the digest of others":     {[]Contact{gateway, other, contact("new", address, digest)}, []Contact{contact("new", address, digest)}},
		"another certificate is another node":            {[]Contact{gateway, other}, []Contact{gateway, other}},
		"a refresh that does not know it keeps it":       {[]Contact{gateway, contact(string(gateway.NodeID), name, "")}, []Contact{gateway}},
	}
	for what, test := range tests {
		t.Run(what, func(t *testing.T) {
			table := NewTable(IDFromBytes([]byte("self")), 0)
			for _, c := range test.add {
				require.NoError(t, table.Add(c))
			}
			type view struct{ nodeID, endpoint, clientID string }
			viewsOf := func(contacts []Contact) (views []view) {
				for _, c := range contacts {
					views = append(views, view{string(c.NodeID), c.Endpoint, c.ClientID})
				}
				return views
			}
			require.ElementsMatch(t, viewsOf(test.want), viewsOf(table.All()))
			require.Len(t, table.clients, len(test.want))
			for _, c := range table.All() {
				require.Equal(t, IDFromBytes(c.NodeID), c.ID)
				table.Remove(c.ID)
			}
			require.Empty(t, table.clients)
			require.Empty(t, table.endpoints)
		})
	}
}

// One that does not answer where it was known to be is taken at its word.
func TestErlangNodeThatMoved(t *testing.T) {
	digest := strings.Repeat("a7", 32)
	table := NewTable(IDFromBytes([]byte("self")), 0)
	gateway := Contact{ID: IDFromBytes([]byte("gateway")), NodeID: []byte("gateway"), Endpoint: "https://10.0.0.7:9443", ClientID: digest, Verified: true}
	require.NoError(t, table.Add(gateway))
	table.Failed(gateway.ID, time.Now())
	require.NoError(t, table.Add(Contact{ID: IDFromBytes([]byte(digest)), NodeID: []byte(digest), Endpoint: "https://10.0.0.8:9443", ClientID: digest, Verified: true}))
	require.Len(t, table.All(), 1)
	require.Equal(t, "https://10.0.0.8:9443", table.All()[0].Endpoint)
	require.Equal(t, "gateway", string(table.All()[0].NodeID))
}
