package wire_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tinylib/msgp/msgp"

	"github.com/macula-mesh/macula-node/compat/wire"
)

func TestGatewayList(t *testing.T) {
	one := wire.Gateway{NodeID: []byte("n"), Host: "127.0.0.1", Port: 9443, Realm: "r", RegisteredAt: wire.Some[int64](5)}
	bare := wire.Gateway{NodeID: []byte("m"), Host: "h", Port: 65535}
	entry := func(name string, v wire.Raw) wire.Raw {
		return fields("node_id", bin("n"), "host", bin("h"), "port", num(1), name, v)
	}
	peers := func(v wire.Raw) wire.Raw { return fields("peers", v) }
	tests := map[string]struct {
		in   wire.Raw
		want wire.GatewayList
		err  error
	}{
		"ours":                  {wire.GatewayList{one, bare}.Raw(), wire.GatewayList{one, bare}, nil},
		"ours, empty":           {wire.GatewayList{}.Raw(), nil, nil},
		"a0":                    {peers(str("")), nil, nil},
		"c400":                  {peers(bin("")), nil, nil},
		"str keys and texts":    {asMap(str("peers"), list(asMap(str("node_id"), str("m"), str("host"), str("h"), str("port"), num(65535)))), wire.GatewayList{bare}, nil},
		"bad ones are left out": {peers(list(num(1), fields(), wire.GatewayList{bare}.Raw(), entry("zz", anExt), entry("host", num(1)))), wire.GatewayList{{NodeID: []byte("n"), Host: "h", Port: 1}}, nil},
		"no host":               {peers(list(entry("host", bin("")), entry("host", bin("a b")), entry("host", bin("\x1b[31m")), entry("host", bin("a/b")))), nil, nil},
		"an IPv6 host":          {peers(list(entry("host", bin("fe80::1")))), wire.GatewayList{{NodeID: []byte("n"), Host: "fe80::1", Port: 1}}, nil},
		"port 0":                {peers(list(entry("port", num(0)))), nil, nil},
		"port 65536":            {peers(list(entry("port", num(65536)))), nil, nil},
		"port negative":         {peers(list(entry("port", num(-1)))), nil, nil},
		"port text":             {peers(list(entry("port", bin("9443")))), nil, nil},
		"no node_id":            {peers(list(entry("node_id", nilValue))), nil, nil},
		"host empty":            {peers(list(entry("host", bin("")))), nil, nil},
		"no peers":              {fields("gateways", list()), nil, wire.ErrMissingField},
		"not a map":             {list(), nil, wire.ErrMissingField},
		"nothing":               {nil, nil, wire.ErrMissingField},
		"peers an int":          {peers(num(1)), nil, wire.ErrMistypedField},
		"peers a map":           {peers(fields()), nil, wire.ErrMistypedField},
		"peers a text":          {peers(bin("none")), nil, wire.ErrMistypedField},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := wire.GatewayList{one}
			err := got.Decode(test.in)
			assert.Equal(t, test.want, got)
			if test.err == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, test.err)
			var fe *wire.FieldError
			require.ErrorAs(t, err, &fe)
			assert.Equal(t, "peers", fe.Field)
		})
	}
}

func TestPeerInfo(t *testing.T) {
	full := wire.PeerInfo{PeerID: "12D3", Addrs: [][]byte{{4, 127, 0, 0, 1}}, Realm: "r"}
	tests := map[string]struct {
		in   wire.Raw
		want wire.PeerInfo
		err  error
	}{
		"ours":               {full.Raw(), full, nil},
		"without addrs":      {fields("peer_id", bin("12D3"), "realm_id", bin("r")), wire.PeerInfo{PeerID: "12D3", Realm: "r"}, nil},
		"with what is new":   {fields("peer_id", bin("12D3"), "realm_id", bin("r"), "zz", num(1)), wire.PeerInfo{PeerID: "12D3", Realm: "r"}, nil},
		"without peer_id":    {fields("realm_id", bin("r")), wire.PeerInfo{Realm: "r"}, wire.ErrMissingField},
		"without realm_id":   {fields("peer_id", bin("12D3")), wire.PeerInfo{PeerID: "12D3"}, wire.ErrMissingField},
		"peer_id a number":   {fields("peer_id", num(1), "realm_id", bin("r")), wire.PeerInfo{Realm: "r"}, wire.ErrMistypedField},
		"an Erlang ok":       {bin("ok"), wire.PeerInfo{}, wire.ErrNotMap},
		"nothing":            {nil, wire.PeerInfo{}, wire.ErrMsgpack},
		"what is left of it": {full.Raw()[:9], wire.PeerInfo{}, wire.ErrMsgpack},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := wire.PeerInfo{PeerID: "of before"}
			err := got.Decode(test.in)
			require.ErrorIs(t, err, test.err)
			if test.err == nil {
				require.Equal(t, test.want, got)
			}
		})
	}
}

func TestGatewayListRecorded(t *testing.T) {
	found := false
	for _, v := range vectors().Encode {
		if v.Name != "reply" {
			continue
		}
		f, _, err := wire.DecodeFrame(unhex(t, v.FrameHex))
		require.NoError(t, err)
		m, err := f.Decode()
		require.NoError(t, err)
		var l wire.GatewayList
		require.NoError(t, l.Decode(m.(*wire.Reply).Result))
		require.Len(t, l, 1)
		assert.Equal(t, "127.0.0.1", l[0].Host)
		assert.Equal(t, int64(9443), l[0].Port)
		assert.Equal(t, "be.cortexiq.test", l[0].Realm)
		assert.Len(t, l[0].NodeID, 64)
		assert.True(t, l[0].RegisteredAt.Set)
		assert.Equal(t, mustRender(t, m.(*wire.Reply).Result), mustRender(t, l.Raw()))
		found = true
	}
	assert.True(t, found)
}

// A peer may not make us read a million entries.
func TestGatewayListIsBounded(t *testing.T) {
	entries := func(n int, entry wire.Raw) wire.Raw {
		return fields("peers", wire.Raw(join(msgp.AppendArrayHeader(nil, uint32(n)), bytes.Repeat(entry, n))))
	}
	good := fields("node_id", bin("n"), "host", bin("h"), "port", num(1))
	var l wire.GatewayList
	require.NoError(t, l.Decode(entries(999, good)))
	assert.Equal(t, 999, len(l))
	require.NoError(t, l.Decode(entries(20_000, good)))
	assert.Equal(t, 1000, len(l))
	for name, entry := range map[string]wire.Raw{"nil": nilValue, "empty map": fields(), "mistyped": fields("port", aBool)} {
		t.Run(name, func(t *testing.T) {
			in := entries(1_000_000/len(entry), entry)
			spent := allocated(func() { _ = l.Decode(in) })
			assert.Empty(t, l)
			assert.Less(t, spent, uint64(1<<20))
		})
	}
}
