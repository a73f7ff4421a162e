package dialer

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/compat/internal/compattest"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// A node is verified by an id that is its own: by its certificate, or by what it
// answers; 32 bytes of neither could be anybody's.
func TestVerifiedIDs(t *testing.T) {
	e := compattest.StartErlang(t, "127.0.0.1:0")
	d := newDialer(t)
	digest, err := hex.DecodeString(e.ClientID())
	require.NoError(t, err)
	anybodys := sha256.Sum256([]byte("anybody"))
	for name, c := range map[string]struct {
		nodeID []byte
		err    error
	}{
		"the digits of its certificate": {[]byte(e.ClientID()), nil},
		"the bytes of its certificate":  {digest, nil},
		"the id of its PONG":            {e.NodeID(), nil},
		"an operator's name":            {[]byte("node-1"), nil},
		"32 bytes of anybody":           {anybodys[:], identity.ErrAnotherNode},
		"another certificate's digits":  {[]byte(hex.EncodeToString(anybodys[:])), identity.ErrAnotherNode},
	} {
		t.Run(name, func(t *testing.T) {
			contact, err := d.Verify(compattest.Context(t), routing.Contact{ID: routing.IDFromBytes(c.nodeID), NodeID: c.nodeID, Endpoint: e.Endpoint()},
				func(netip.Addr) bool { return true })
			require.ErrorIs(t, err, c.err)
			require.Equal(t, c.err == nil, contact.Verified)
		})
	}
	require.Equal(t, 1, e.Stats().Accepted)
	require.NotZero(t, e.Count(wire.TypeNATProbe))
	e.RequireSpared()
}
