package credentials

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/compat/gateway"
	"github.com/macula-mesh/macula-node/internal/datadir"
)

func TestSelfSignedCertificate(t *testing.T) {
	certificate, err := gateway.SelfSign(nil)
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

	other, err := gateway.SelfSign(nil)
	require.NoError(t, err)
	require.False(t, public.Equal(other.Leaf.PublicKey), "a key of its own each time")
}

// It is made at the first start, for its owner alone, and stays.
func TestKeptCertificate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "here")
	first, err := loadOrCreateCertificate(dir, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	again, err := loadOrCreateCertificate(dir, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	require.Equal(t, first.Certificate, again.Certificate)

	path := filepath.Join(dir, certificateFile)
	if runtime.GOOS != "windows" {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode())
		require.NoError(t, os.Chmod(path, 0o644))
		_, err = loadOrCreateCertificate(dir, slog.New(slog.DiscardHandler))
		require.ErrorContains(t, err, "chmod 600 "+path)
		require.NoError(t, os.Chmod(path, 0o600))
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "no temporary file stays")

	for name, content := range map[string]string{"empty": "", "no PEM": "not a certificate"} {
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		_, err = loadOrCreateCertificate(dir, slog.New(slog.DiscardHandler))
		require.ErrorContains(t, err, path+" is corrupt: restore it from a backup, or delete it", name)
	}
}

func TestFirstCertificateWins(t *testing.T) {
	dir := t.TempDir()
	pins := make(chan identity.Pin, 8)
	for range cap(pins) {
		go func() {
			cert, err := loadOrCreateCertificate(dir, slog.New(slog.DiscardHandler))
			if assert.NoError(t, err) {
				pins <- identity.PinOf(cert.Leaf)
			} else {
				pins <- identity.Pin{}
			}
		}()
	}
	first := <-pins
	for range cap(pins) - 1 {
		require.Equal(t, first, <-pins)
	}
}

// One that is about to expire is made anew for the same key: who knows the node
// by it goes on to.
func TestCertificateIsRenewed(t *testing.T) {
	for name, left := range map[string]time.Duration{"expired": -time.Hour, "about to": renewBefore - time.Hour} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			require.NoError(t, err)
			template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(left)}
			der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
			require.NoError(t, err)
			old, err := x509.ParseCertificate(der)
			require.NoError(t, err)
			data, err := encodeCertificate(tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key})
			require.NoError(t, err)
			require.NoError(t, datadir.CreatePrivate(filepath.Join(dir, certificateFile), data))

			var log bytes.Buffer
			renewed, err := loadOrCreateCertificate(dir, slog.New(slog.NewTextHandler(&log, nil)))
			require.NoError(t, err)
			require.Contains(t, log.String(), "made anew")
			require.Greater(t, time.Until(renewed.Leaf.NotAfter), renewBefore)
			require.Equal(t, identity.PinOf(old), identity.PinOf(renewed.Leaf))

			log.Reset()
			kept, err := loadOrCreateCertificate(dir, slog.New(slog.NewTextHandler(&log, nil)))
			require.NoError(t, err)
			require.Equal(t, renewed.Certificate, kept.Certificate)
			require.Empty(t, log.String())
		})
	}
}
