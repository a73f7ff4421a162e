package node

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSelfSignedCertificate(t *testing.T) {
	certificate, err := selfSignedCertificate()
	require.NoError(t, err)

	leaf := certificate.Leaf
	require.Equal(t, "macula-node", leaf.Subject.CommonName)
	require.NoError(t, leaf.CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature), "signed by itself")

	public, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	require.True(t, ok)
	require.Equal(t, elliptic.P256(), public.Curve)
	require.True(t, public.Equal(certificate.PrivateKey.(*ecdsa.PrivateKey).Public()))

	require.True(t, leaf.NotBefore.Before(time.Now().Add(-time.Hour)), "a peer's clock may be behind")
	require.True(t, leaf.NotAfter.After(time.Now().AddDate(5, 0, 0)), "outlives the process")

	other, err := selfSignedCertificate()
	require.NoError(t, err)
	require.False(t, public.Equal(other.Leaf.PublicKey), "a key of its own at each start")
}
