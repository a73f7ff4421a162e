package dialer

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/internal/compattest"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// A ClientID is 64 digits or, from 0.20.21 on, the 32 bytes that they stand for.
func TestFormsOfAClientID(t *testing.T) {
	sum, other := sha256.Sum256([]byte("key")), sha256.Sum256([]byte("another"))
	digits := hex.EncodeToString(sum[:])
	for name, c := range map[string]struct {
		nodeID      string
		is, matches bool
	}{
		"its digits":         {digits, true, true},
		"in capitals":        {strings.ToUpper(digits), true, true},
		"its bytes":          {string(sum[:]), true, true},
		"another's digits":   {hex.EncodeToString(other[:]), false, false},
		"32 other bytes":     {string(other[:]), false, true},
		"an operator's name": {"node-1", false, true},
		"none":               {"", false, true},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.is, IsClientID([]byte(c.nodeID), digits))
			require.Equal(t, c.matches, MatchesClientID([]byte(c.nodeID), digits))
			require.False(t, IsClientID([]byte(c.nodeID), ""))
		})
	}
}

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
		"32 bytes of anybody":           {anybodys[:], ErrAnotherNode},
		"another certificate's digits":  {[]byte(hex.EncodeToString(anybodys[:])), ErrAnotherNode},
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
