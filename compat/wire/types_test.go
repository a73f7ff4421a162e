package wire_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
)

// typeTable is the line of docs/WIRE.md.
const typeTable = `01 connect · 02 disconnect · 03 ping · 04 pong · 10 publish · 11 subscribe · 12 unsubscribe · 13 pubsub_route · 20 call · 21 reply · 22 cast · 23 rpc_route · 24 rpc_request · 25 rpc_reply · 26 register_procedure · 30 swim_ping · 31 swim_ack · 32 swim_ping_req · 40 find_node · 41 find_node_reply · 42 store · 43 find_value · 44 find_value_reply · 50 nat_probe · 51 nat_probe_reply · 52 punch_request · 53 punch_coordinate · 54 punch_execute · 55 punch_result · 56 relay_request · 57 relay_data · 60 bridge_rpc · 61 bridge_data · 70 gossip_push · 71 gossip_pull · 72 gossip_pull_reply · 73 gossip_sync · 74 gossip_sync_reply · 80 registry_publish · 81 registry_publish_ack · 82 registry_fetch · 83 registry_fetch_reply · 84 registry_query · 85 registry_query_reply · 86 registry_verify · 87 registry_verify_reply · 88 registry_sync · 89 registry_sync_reply · 90 content_want · 91 content_have · 92 content_block · 93 content_manifest_req · 94 content_manifest_res · 95 content_cancel`

func wireTypes(t *testing.T) map[wire.Type]string {
	types := map[wire.Type]string{}
	for _, entry := range strings.Split(typeTable, " · ") {
		id, name, ok := strings.Cut(entry, " ")
		require.True(t, ok, entry)
		types[wire.Type(unhex(t, id)[0])] = name
	}
	return types
}

func TestTypes(t *testing.T) {
	want := wireTypes(t)
	require.Len(t, want, 54)
	known := 0
	for id := range 256 {
		typ := wire.Type(id)
		name, isKnown := want[typ]
		assert.Equal(t, isKnown, typ.Known(), "%#x", id)
		if !isKnown {
			assert.True(t, strings.HasPrefix(typ.String(), "unknown(0x"), typ.String())
			_, ok := wire.ParseType(typ.String())
			assert.False(t, ok)
			continue
		}
		known++
		assert.Equal(t, name, typ.String())
		parsed, ok := wire.ParseType(name)
		assert.True(t, ok, name)
		assert.Equal(t, typ, parsed)
	}
	assert.Equal(t, 54, known)
}

func TestTypeOfUnknown(t *testing.T) {
	assert.Equal(t, "unknown(0xee)", wire.Type(0xee).String())
	assert.Equal(t, "unknown(0x00)", wire.Type(0).String())
	for _, name := range []string{"", "Ping", "ping ", "unknown(0x03)"} {
		_, ok := wire.ParseType(name)
		assert.False(t, ok, "%q", name)
	}
}

// A message of every type says the type under which it travels.
func TestEveryTypeDecodes(t *testing.T) {
	for typ, name := range wireTypes(t) {
		m, err := framing.Frame{Type: typ, Payload: raw(0x80)}.Decode()
		if err != nil {
			require.ErrorIs(t, err, wire.ErrMissingField, name)
		}
		require.NotNil(t, m, name)
		assert.Equal(t, typ, m.Type(), name)
	}
}
