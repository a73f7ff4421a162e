package procedures_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tinylib/msgp/msgp"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
)

func TestGatewayList(t *testing.T) {
	one := procedures.Gateway{NodeID: []byte("n"), Host: "127.0.0.1", Port: 9443, Realm: "r", RegisteredAt: wire.Some[int64](5)}
	bare := procedures.Gateway{NodeID: []byte("m"), Host: "h", Port: 65535}
	entry := func(name string, v wire.Raw) wire.Raw {
		return fields("node_id", bin("n"), "host", bin("h"), "port", num(1), name, v)
	}
	peers := func(v wire.Raw) wire.Raw { return fields("peers", v) }
	tests := map[string]struct {
		in   wire.Raw
		want procedures.GatewayList
		err  error
	}{
		"ours":                  {procedures.GatewayList{one, bare}.Raw(), procedures.GatewayList{one, bare}, nil},
		"ours, empty":           {procedures.GatewayList{}.Raw(), nil, nil},
		"a0":                    {peers(str("")), nil, nil},
		"c400":                  {peers(bin("")), nil, nil},
		"str keys and texts":    {asMap(str("peers"), list(asMap(str("node_id"), str("m"), str("host"), str("h"), str("port"), num(65535)))), procedures.GatewayList{bare}, nil},
		"bad ones are left out": {peers(list(num(1), fields(), procedures.GatewayList{bare}.Raw(), entry("zz", anExt), entry("host", num(1)))), procedures.GatewayList{{NodeID: []byte("n"), Host: "h", Port: 1}}, nil},
		"no host":               {peers(list(entry("host", bin("")), entry("host", bin("a b")), entry("host", bin("\x1b[31m")), entry("host", bin("a/b")))), nil, nil},
		"an IPv6 host":          {peers(list(entry("host", bin("fe80::1")))), procedures.GatewayList{{NodeID: []byte("n"), Host: "fe80::1", Port: 1}}, nil},
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
			got := procedures.GatewayList{one}
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

// A peer may not make us read a million entries.
func TestGatewayListIsBounded(t *testing.T) {
	entries := func(n int, entry wire.Raw) wire.Raw {
		return fields("peers", wire.Raw(join(msgp.AppendArrayHeader(nil, uint32(n)), bytes.Repeat(entry, n))))
	}
	good := fields("node_id", bin("n"), "host", bin("h"), "port", num(1))
	var l procedures.GatewayList
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

func TestGatewayEndpoint(t *testing.T) {
	for name, test := range map[string]struct {
		gateway procedures.Gateway
		want    string // none: an endpoints.ErrBad
	}{
		"a name":             {procedures.Gateway{Host: "GW.example.org.", Port: 9443}, "https://gw.example.org:9443"},
		"an IPv6 address":    {procedures.Gateway{Host: "2001:db8::7", Port: 1}, "https://[2001:db8::7]:1"},
		"an IPv4 one within": {procedures.Gateway{Host: "::ffff:192.0.2.7", Port: 1}, "https://192.0.2.7:1"},
		"no host":            {procedures.Gateway{Port: 9443}, ""},
		"no port":            {procedures.Gateway{Host: "gw"}, ""},
		"a port too high":    {procedures.Gateway{Host: "gw", Port: 65536 + 9443}, ""},
		"a negative port":    {procedures.Gateway{Host: "gw", Port: -1}, ""},
		"a path in the host": {procedures.Gateway{Host: "gw/x", Port: 1}, ""},
		"a pin in the host":  {procedures.Gateway{Host: "gw#sha256=00", Port: 1}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := test.gateway.Endpoint()
			if test.want == "" {
				require.ErrorIs(t, err, endpoints.ErrBad)
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.want, e.String())
		})
	}
}
