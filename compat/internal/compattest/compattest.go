// Package compattest has what the tests of the compat layer share: a double of an
// Erlang node, certificates, and waits with a limit.
package compattest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// How long a test waits for what must come, and how often it looks.
const (
	Patience = 20 * time.Second
	Tick     = 5 * time.Millisecond
)

// Context ends with the test, or when a test has waited for too long.
func Context(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(tb.Context(), Patience)
	tb.Cleanup(cancel)
	return ctx
}

// Certificate is self-signed, like an Erlang node's.
var Certificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

// RequireCloses calls what closes something, which has as long as an operator
// who stops a node is asked to wait.
func RequireCloses(tb testing.TB, closer func() error) {
	tb.Helper()
	closed := make(chan error, 1)
	go func() { closed <- closer() }()
	select {
	case err := <-closed:
		require.NoError(tb, err)
	case <-time.After(5 * time.Second):
		require.FailNow(tb, "not closed in time")
	}
}

// InBackground runs f and returns what it will return.
func InBackground(f func() error) <-chan error {
	result := make(chan error, 1)
	go func() { result <- f() }()
	return result
}

// Wait returns what comes out of c.
func Wait[T any](tb testing.TB, c <-chan T) T {
	tb.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(Patience):
		require.FailNow(tb, "nothing came")
		panic("unreachable")
	}
}

// Eventually waits for a state.
func Eventually(tb testing.TB, state func() bool, what string, args ...any) {
	tb.Helper()
	require.Eventually(tb, state, Patience, Tick, append([]any{what}, args...)...)
}

// At is the contact of an Erlang node.
func At(endpoint string) routing.Contact {
	return routing.Contact{ID: routing.IDFromBytes([]byte(endpoint)), Endpoint: endpoint, Verified: true}
}

// Provider returns a value of a provider with some more fields, which Erlang nodes
// survive: its node id is NodeID(name).
func Provider(name string, more ...wire.Pair) wire.Raw {
	return wire.RawMap(append([]wire.Pair{{Key: "node_id", Value: wire.RawText(NodeID(name))}}, more...)...)
}

// NodeID returns a node id as Erlang nodes have it, 64 hexadecimal digits; another
// for each name.
func NodeID(name string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(name))) }

// Frames encodes messages one behind the other.
func Frames(tb testing.TB, messages ...wire.Message) (b []byte) {
	tb.Helper()
	for _, m := range messages {
		var err error
		b, err = framing.AppendFrame(b, m)
		require.NoError(tb, err)
	}
	return b
}

// RawFrame is a frame of any payload.
func RawFrame(t wire.Type, payload ...byte) []byte {
	n := len(payload)
	return append([]byte{framing.Version, byte(t), 0, 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, payload...)
}

// PortOf returns the port of an endpoint that has one.
func PortOf(tb testing.TB, endpoint string) string {
	tb.Helper()
	_, port, err := net.SplitHostPort(strings.TrimPrefix(endpoint, "https://"))
	require.NoError(tb, err)
	return port
}
