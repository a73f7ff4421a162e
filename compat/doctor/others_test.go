package doctor_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/doctor"
	"github.com/macula-mesh/macula-node/compat/gateway"
	"github.com/macula-mesh/macula-node/protocols/maculadht/dht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// silence returns an endpoint of loopback at which nobody answers.
func silence(t *testing.T) string {
	t.Helper()
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	t.Cleanup(func() { socket.Close() })
	return "https://" + socket.LocalAddr().String()
}

// another returns an endpoint at which a QUIC server does not speak Macula's
// protocol.
func another(t *testing.T) string {
	t.Helper()
	cert := start(t).Certificate()
	ln, err := quic.ListenAddr("127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h3"}}, nil)
	require.NoError(t, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			if _, err := ln.Accept(context.Background()); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		require.NoError(t, ln.Close())
		<-ended
	})
	return "https://" + ln.Addr().String()
}

// TestCertificates: what a certificate is like is shown, and noted where it is
// not valid now. It is no fault, as nobody looks at it.
func TestCertificates(t *testing.T) {
	day := 24 * time.Hour
	for name, test := range map[string]struct {
		from, until time.Duration // from now
		names       []string
		result      doctor.Result
		seen        string
		advice      string
	}{
		"valid":         {-day, day, []string{"gw.example", "*.gw.example"}, doctor.OK, `^self-signed, for gw\.example \*\.gw\.example 127\.0\.0\.1, until `, "^$"},
		"without names": {-day, day, nil, doctor.OK, `^self-signed, for 127\.0\.0\.1, until `, "^$"},
		"expired":       {-2 * day, -day, nil, doctor.Note, "self-signed", "has expired"},
		"not yet valid": {day, 2 * day, nil, doctor.Note, "self-signed", "begins to be valid"},
	} {
		t.Run(name, func(t *testing.T) {
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			require.NoError(t, err)
			template := &x509.Certificate{
				SerialNumber: big.NewInt(1),
				NotBefore:    time.Now().Add(test.from),
				NotAfter:     time.Now().Add(test.until),
				DNSNames:     test.names,
				IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
			}
			der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
			require.NoError(t, err)

			contacts, err := routing.NewServer(routing.IDFromBytes([]byte("gateway")))
			require.NoError(t, err)
			defer contacts.Close()
			mux, err := server.NewMux()
			require.NoError(t, err)
			handlers, err := dht.New(mux, contacts)
			require.NoError(t, err)
			g, err := gateway.New(handlers)
			require.NoError(t, err)
			defer g.Close()
			at, err := g.ListenOn("127.0.0.1:0", tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key})
			require.NoError(t, err)

			r := examine(t, "https://"+at.String(), doctor.WithRegistration(0))
			c := of(t, r, "certificate")
			require.Equal(t, test.result, c.Result, c)
			require.Regexp(t, test.seen, c.Seen)
			require.Regexp(t, test.advice, c.Advice)
			require.Len(t, r.ClientID, 64)
		})
	}
}
