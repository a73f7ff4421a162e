package signed

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
)

// FuzzVerify: whatever a proof is, it is refused or it is one; nothing but the bytes that
// its key has signed for the record holds.
func FuzzVerify(f *testing.F) {
	for _, v := range readVectors(f) {
		f.Add(unhex(f, v.Proof), unhex(f, v.Key), unhex(f, v.Value))
	}
	_, owner := seeded(f, 1)
	from := time.Now()
	fresh := sealed(f, 1, key, value, from, time.Hour)
	f.Add(fresh, key, value)
	f.Fuzz(func(t *testing.T, envelope, key, value []byte) {
		v := NewVerifier(realm)
		p, err := v.Verify(key, value, owner[:], envelope)
		again, errAgain := v.Verify(key, value, owner[:], envelope)
		require.Equal(t, err == nil, errAgain == nil)
		require.Equal(t, p, again)
		if err == nil {
			require.LessOrEqual(t, len(envelope), wire.MaxProof)
			require.Equal(t, envelope, p.Envelope)
			require.Greater(t, p.Expires, p.Sequence)
			_, err := v.Verify(append(key, 1), value, owner[:], envelope)
			require.ErrorIs(t, err, ErrForged)
			_, err = v.Verify(key, append(value, 1), owner[:], envelope)
			require.ErrorIs(t, err, ErrForged)
		}
		_, _, err = v.VerifyTombstone(key, envelope)
		if err == nil {
			_, err = v.Verify(key, []byte{1}, owner[:], envelope)
			require.Error(t, err)
		}
	})
}
