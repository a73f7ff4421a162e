package credentials

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/stretchr/testify/require"
)

// FuzzKey: whatever identity.key holds, it is refused or a key that signs, and that is read
// again as the same.
func FuzzKey(f *testing.F) {
	for _, kind := range []int{crypto.Ed25519, crypto.Secp256k1, crypto.ECDSA} {
		key, _, err := crypto.GenerateKeyPairWithReader(kind, 0, rand.Reader)
		require.NoError(f, err)
		data, err := crypto.MarshalPrivateKey(key)
		require.NoError(f, err)
		f.Add(data)
		f.Add(data[:len(data)-1])
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		key, err := unmarshalKey(data)
		if err != nil {
			return
		}
		again, err := crypto.MarshalPrivateKey(key)
		require.NoError(t, err)
		same, err := unmarshalKey(again)
		require.NoError(t, err)
		require.True(t, key.Equals(same))
	})
}

// FuzzCertificate: whatever tls.pem holds, it is refused by its name or a certificate with
// its key.
func FuzzCertificate(f *testing.F) {
	dir := f.TempDir()
	path := filepath.Join(dir, certificateFile)
	err := createCertificate(path)
	require.NoError(f, err)
	whole, err := os.ReadFile(path)
	require.NoError(f, err)
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		require.NoError(t, os.WriteFile(path, data, 0o600))
		c, err := loadCertificate(path)
		if err != nil {
			require.ErrorContains(t, err, path)
			return
		}
		require.NotEmpty(t, c.Certificate)
		require.NotNil(t, c.PrivateKey)
	})
}
