package procedures_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
)

// FuzzDecode: whatever a call carries, and a reply to one, is refused by name or says the
// same when it is written again.
func FuzzDecode(f *testing.F) {
	gateways := procedures.GatewayList{{NodeID: []byte("id"), Host: "gw.example.org", Port: 9443, Realm: "r", RegisteredAt: wire.Some[int64](1)}, {}}
	store := procedures.StoreArgs{Key: []byte("k"), Value: wire.RawMap(), ExpiresIn: wire.Some[int64](5), Proof: []byte("p")}
	info := procedures.PeerInfo{PeerID: "12D3", Addrs: [][]byte{{1}}, Realm: "r"}
	for _, seed := range []wire.Raw{gateways.Raw(), store.Raw(), info.Raw(), wire.RawMap(), wire.RawArray(), wire.RawText("{}"), nil} {
		f.Add([]byte(seed))
	}
	f.Add([]byte(gateways.Raw())[2:])
	f.Fuzz(func(t *testing.T, b []byte) {
		// What comes here is a part of a message that was read.
		call := wire.Call{Procedure: "p", Args: b}
		var read wire.Call
		if err := read.Decode(call.AppendPayload(nil)); err != nil {
			return
		}
		raw := read.Args

		var s procedures.StoreArgs
		if err := s.Decode(raw); err == nil {
			require.LessOrEqual(t, len(s.Key), wire.MaxField)
			require.True(t, s.Value != nil || len(s.Proof) > 0)
			var again procedures.StoreArgs
			require.NoError(t, again.Decode(s.Raw()))
			require.Equal(t, s, again)
		} else {
			requireField(t, err)
		}
		var p procedures.PeerInfo
		if err := p.Decode(raw); err == nil {
			require.LessOrEqual(t, len(p.Addrs), wire.MaxAddrs)
			var again procedures.PeerInfo
			require.NoError(t, again.Decode(p.Raw()))
			require.Equal(t, p, again)
		} else {
			requireField(t, err)
		}
		var l procedures.GatewayList
		if err := l.Decode(raw); err == nil {
			for _, g := range l {
				requireGateway(t, g)
			}
			var again procedures.GatewayList
			require.NoError(t, again.Decode(l.Raw()))
			require.Equal(t, l, again)
		} else {
			requireField(t, err)
		}
		if g, ok := procedures.ParseGateway(raw); ok {
			requireGateway(t, g)
		}
	})
}

// requireField requires that an error names a field, or says that there are none.
func requireField(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, wire.ErrNotMap) || errors.Is(err, wire.ErrMsgpack) {
		return
	}
	field, ok := errors.AsType[*wire.FieldError](err)
	require.True(t, ok, "%v", err)
	require.NotEmpty(t, field.Field)
}

// requireGateway requires that a gateway can be dialled, by what it says.
func requireGateway(t *testing.T, g procedures.Gateway) {
	t.Helper()
	require.NotNil(t, g.NodeID)
	require.True(t, endpoints.IsHost(g.Host))
	e, err := g.Endpoint()
	require.NoError(t, err, "%+v", g)
	require.EqualValues(t, g.Port, e.Port)
}
