package compat

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// TestMain fails the tests of this package if a goroutine outlives them.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

const (
	patience = 20 * time.Second // for what must come
	tick     = 5 * time.Millisecond
)

// testContext ends with the test, or when a test has waited for too long.
func testContext(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	tb.Cleanup(cancel)
	return ctx
}

// certificate is self-signed, like an Erlang node's.
var certificate = sync.OnceValue(func() tls.Certificate {
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

// newDialer returns a dialer that is closed, in time, when the test ends.
func newDialer(tb testing.TB, opts ...DialerOption) *Dialer {
	tb.Helper()
	d, err := NewDialer(opts...)
	require.NoError(tb, err)
	tb.Cleanup(func() { requireCloses(tb, d.Close) })
	return d
}

// requireCloses calls what closes something, which has as long as an operator
// who stops a node is asked to wait.
func requireCloses(tb testing.TB, closer func() error) {
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

// inBackground runs f and returns what it will return.
func inBackground(f func() error) <-chan error {
	result := make(chan error, 1)
	go func() { result <- f() }()
	return result
}

// wait returns what comes out of c.
func wait[T any](tb testing.TB, c <-chan T) T {
	tb.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		require.FailNow(tb, "nothing came")
		panic("unreachable")
	}
}

// eventually waits for a state.
func eventually(tb testing.TB, state func() bool, what string, args ...any) {
	tb.Helper()
	require.Eventually(tb, state, patience, tick, append([]any{what}, args...)...)
}

// at is the contact of an Erlang node.
func at(endpoint string) routing.Contact {
	return routing.Contact{ID: routing.IDFromBytes([]byte(endpoint)), Endpoint: endpoint, Verified: true}
}

// provider returns a value of the provider named nodeID with some more fields.
func provider(nodeID string, more ...wire.Pair) wire.Raw {
	return wire.RawMap(append([]wire.Pair{{Key: "node_id", Value: wire.RawText(nodeID)}}, more...)...)
}

// frames encodes messages one behind the other.
func frames(tb testing.TB, messages ...wire.Message) (b []byte) {
	tb.Helper()
	for _, m := range messages {
		var err error
		b, err = wire.AppendFrame(b, m)
		require.NoError(tb, err)
	}
	return b
}

// rawFrame is a frame of any payload.
func rawFrame(t wire.Type, payload ...byte) []byte {
	n := len(payload)
	return append([]byte{wire.Version, byte(t), 0, 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, payload...)
}
