package values_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/compat/wire/internal/wiretest"
	"github.com/macula-mesh/macula-node/compat/wire/values"
)

// FuzzValue: a value that may be stored still may after its texts were rewritten,
// unless it became too long, and can be shown.
func FuzzValue(f *testing.F) {
	for _, b := range wiretest.Vectors("..").Frames() {
		if fr, _, err := framing.DecodeFrame(b); err == nil {
			f.Add(fr.Payload)
			if m, err := fr.Decode(); err == nil {
				if s, ok := m.(*wire.Store); ok {
					f.Add([]byte(s.Value))
				}
			}
		}
	}
	f.Add([]byte(asMap(str("ttl"), num(5), str("a"), list(str(""), str("é")))))
	f.Add([]byte(asMap(asMap(bin(`"`), nilValue), nilValue)))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := values.Parse(b)
		rewritten, rewriteErr := wire.TextsAsBin(b)
		if err != nil {
			require.ErrorIs(t, err, values.ErrBad)
			return
		}
		require.NoError(t, rewriteErr)
		require.GreaterOrEqual(t, v.TTL.Seconds(), 1.0)
		require.LessOrEqual(t, v.TTL, values.MaxTTL)
		require.Equal(t, b, []byte(v.Raw))

		again, err := wire.TextsAsBin(rewritten)
		require.NoError(t, err)
		require.Same(t, &rewritten[0], &again[0], "no str is left")
		after, err := values.Parse(rewritten)
		if len(rewritten) > values.MaxSize {
			require.ErrorIs(t, err, values.ErrBad)
		} else {
			require.NoError(t, err)
			require.Equal(t, v.NodeID, after.NodeID)
			require.Equal(t, v.TTL, after.TTL)
		}

		text, err := wire.Raw(b).MarshalJSON()
		require.NoError(t, err)
		require.True(t, json.Valid(text))
		require.LessOrEqual(t, len(text), 100+20*len(b), "it does not explode")
		if !bytes.Contains(b, []byte("$bin")) {
			readBack, err := wire.FromJSON(text)
			require.NoError(t, err, "%s", text)
			same, err := readBack.MarshalJSON()
			require.NoError(t, err)
			require.Equal(t, string(text), string(same))
		}
	})
}
