package procedures_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/compat/wire/values"
)

// What may be stored may also travel, in a FIND_VALUE_REPLY and in the args of a
// _dht.store.
func TestDeepestValueTravels(t *testing.T) {
	v := nest(values.MaxDepth)
	m, err := wire.Decode(wire.TypeFindValueReply, (&wire.FindValueReply{Values: []wire.Raw{v}}).AppendPayload(nil))
	require.NoError(t, err)
	assert.Equal(t, []wire.Raw{v}, m.(*wire.FindValueReply).Values)
	args := procedures.StoreArgs{Key: []byte("k"), Value: v}
	_, err = wire.Decode(wire.TypeCall, (&wire.Call{Procedure: wire.ProcedureStore, Args: args.Raw()}).AppendPayload(nil))
	require.NoError(t, err)
}

func TestStoreArgs(t *testing.T) {
	value := fields("n", num(1))
	full := procedures.StoreArgs{Key: []byte("k"), Value: value, ExpiresIn: wire.Some[int64](60)}
	tests := map[string]struct {
		in    wire.Raw
		want  procedures.StoreArgs
		err   error
		field string
	}{
		"full":                  {full.Raw(), full, nil, ""},
		"str":                   {asMap(str("key"), str("k"), str("value"), value), procedures.StoreArgs{Key: []byte("k"), Value: value}, nil, ""},
		"unknown fields":        {fields("key", bin("k"), "zz", anExt, "value", value), procedures.StoreArgs{Key: []byte("k"), Value: value}, nil, ""},
		"no key":                {fields("value", value), procedures.StoreArgs{Value: value}, wire.ErrMissingField, "key"},
		"no value":              {fields("key", bin("k")), procedures.StoreArgs{Key: []byte("k")}, wire.ErrMissingField, "value"},
		"neither":               {fields(), procedures.StoreArgs{}, wire.ErrMissingField, "key"},
		"key nil":               {fields("key", nilValue, "value", value), procedures.StoreArgs{Value: value}, wire.ErrMissingField, "key"},
		"key int":               {fields("key", num(1), "value", value), procedures.StoreArgs{Value: value}, wire.ErrMistypedField, "key"},
		"key of 256 bytes":      {fields("key", bin(strings.Repeat("k", 256)), "value", value), procedures.StoreArgs{Value: value}, wire.ErrMistypedField, "key"},
		"expires_in text":       {fields("key", bin("k"), "value", value, "expires_in", bin("1")), procedures.StoreArgs{Key: []byte("k"), Value: value}, wire.ErrMistypedField, "expires_in"},
		"args are JSON text":    {bin(`{"key":"k"}`), procedures.StoreArgs{}, wire.ErrMistypedField, "args"},
		"args are a list":       {list(), procedures.StoreArgs{}, wire.ErrMistypedField, "args"},
		"no args":               {nil, procedures.StoreArgs{}, wire.ErrMissingField, "args"},
		"a value that is a nil": {fields("key", bin("k"), "value", nilValue), procedures.StoreArgs{Key: []byte("k"), Value: nilValue}, nil, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := procedures.StoreArgs{Key: []byte("left over"), Value: num(9), ExpiresIn: wire.Some[int64](9)}
			err := got.Decode(test.in)
			assert.Equal(t, test.want, got)
			if test.err == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, test.err)
			var fe *wire.FieldError
			require.ErrorAs(t, err, &fe)
			assert.Equal(t, wire.TypeCall, fe.Type)
			assert.Equal(t, test.field, fe.Field)
		})
	}
	var damaged procedures.StoreArgs
	require.ErrorIs(t, damaged.Decode(asMap(badText, num(1))), wire.ErrMsgpack)
}

func TestPeerInfo(t *testing.T) {
	full := procedures.PeerInfo{PeerID: "12D3", Addrs: [][]byte{{4, 127, 0, 0, 1}}, Realm: "r"}
	tests := map[string]struct {
		in   wire.Raw
		want procedures.PeerInfo
		err  error
	}{
		"ours":               {full.Raw(), full, nil},
		"without addrs":      {fields("peer_id", bin("12D3"), "realm_id", bin("r")), procedures.PeerInfo{PeerID: "12D3", Realm: "r"}, nil},
		"with what is new":   {fields("peer_id", bin("12D3"), "realm_id", bin("r"), "zz", num(1)), procedures.PeerInfo{PeerID: "12D3", Realm: "r"}, nil},
		"without peer_id":    {fields("realm_id", bin("r")), procedures.PeerInfo{Realm: "r"}, wire.ErrMissingField},
		"without realm_id":   {fields("peer_id", bin("12D3")), procedures.PeerInfo{PeerID: "12D3"}, wire.ErrMissingField},
		"peer_id a number":   {fields("peer_id", num(1), "realm_id", bin("r")), procedures.PeerInfo{Realm: "r"}, wire.ErrMistypedField},
		"an Erlang ok":       {bin("ok"), procedures.PeerInfo{}, wire.ErrNotMap},
		"nothing":            {nil, procedures.PeerInfo{}, wire.ErrMsgpack},
		"what is left of it": {full.Raw()[:9], procedures.PeerInfo{}, wire.ErrMsgpack},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := procedures.PeerInfo{PeerID: "of before"}
			err := got.Decode(test.in)
			require.ErrorIs(t, err, test.err)
			if test.err == nil {
				require.Equal(t, test.want, got)
			}
		})
	}
}
