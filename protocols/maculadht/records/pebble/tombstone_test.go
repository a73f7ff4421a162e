package pebble

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// What was withdrawn stays so over a restart, and what was proved is proved: a copy that
// comes late does not bring it back, nor does anybody take its place.
func TestProofsOutliveARestart(t *testing.T) {
	disk := vfs.NewMem()
	open := func() *records.Manager {
		s, err := Open("store", us, WithFS(disk))
		require.NoError(t, err)
		m, err := records.New(records.WithStore(s))
		require.NoError(t, err)
		return m
	}
	now := time.Now().UnixMilli()
	proof := func(sequence int64) *records.Proof {
		return &records.Proof{Envelope: []byte{byte(sequence), 0xff}, Sequence: now + sequence, Expires: now + time.Hour.Milliseconds()}
	}
	put := func(m *records.Manager, id, value string, p *records.Proof) error {
		return m.Store(t.Context(), records.Put{Key: []byte("k"), NodeID: []byte(id), Value: []byte(value), Proof: p, TTL: time.Hour, Synced: true})
	}
	check := func(m *records.Manager) {
		t.Helper()
		values, withdrawn, err := m.Records(t.Context(), []byte("k"), time.Now())
		require.NoError(t, err)
		require.Len(t, values, 2)
		require.Equal(t, []string{"c", "a"}, []string{string(values[0].NodeID), string(values[1].NodeID)})
		require.Equal(t, proof(5), values[1].Proof)
		require.Len(t, withdrawn, 1)
		require.Equal(t, "b", string(withdrawn[0].NodeID))
		require.Equal(t, proof(3), withdrawn[0].Proof)

		require.ErrorIs(t, put(m, "b", "old", proof(1)), records.ErrSuperseded)
		require.ErrorIs(t, put(m, "b", "old", nil), records.ErrNotOwner)
		require.ErrorIs(t, put(m, "a", "old", proof(4)), records.ErrSuperseded)
		require.ErrorIs(t, put(m, "a", "forged", nil), records.ErrNotOwner)
	}
	m := open()
	require.NoError(t, put(m, "a", "value", proof(5)))
	require.NoError(t, put(m, "b", "value", proof(2)))
	require.NoError(t, put(m, "b", "", proof(3)))
	require.NoError(t, put(m, "c", "value", nil))
	check(m)
	stats := m.Stats()
	for range 2 {
		require.NoError(t, m.Close())
		m = open()
		check(m)
		require.Equal(t, stats.Bytes, m.Stats().Bytes, "a proof is counted as before")
	}
	require.NoError(t, put(m, "b", "anew", proof(6)))
	values, withdrawn, err := m.Records(t.Context(), []byte("k"), time.Now())
	require.NoError(t, err)
	require.Len(t, values, 3)
	require.Empty(t, withdrawn)
	require.NoError(t, m.Close())
	m = open()
	values, err = m.Values(t.Context(), []byte("k"))
	require.NoError(t, err)
	require.Len(t, values, 3)
	require.Equal(t, "anew", string(values[0].Value), "in front")
	require.NoError(t, m.Close())
}
