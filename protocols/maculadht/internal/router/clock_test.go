package router

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

func TestClockIsBlamedOnceInAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		invalid := x509.CertificateInvalidError{Reason: x509.Expired, Detail: "current time is before …"}
		dial := fmt.Errorf("all dials failed: certificate verification failed: %s", invalid.Error()) // as libp2p has it
		var c clockNote
		require.False(t, c.due(nil))
		require.False(t, c.due(errors.New("all dials failed: timeout")))
		require.True(t, c.due(dial))
		require.False(t, c.due(dial), "it has been said")
		time.Sleep(clockSaidFor)
		require.True(t, c.due(dial))
	})
}

// Whichever way a connection fails for it, the log says so: of libp2p alone.
func TestWrongClockIsSaid(t *testing.T) {
	var log bytes.Buffer
	r := &Router{cfg: Config{Log: slog.New(slog.NewTextHandler(&log, nil))}}
	err := fmt.Errorf("certificate verification failed: %s", x509.CertificateInvalidError{Reason: x509.Expired}.Error())
	r.noteClock(routing.Contact{Endpoint: "https://192.0.2.1:9443"}, err)
	require.Empty(t, log.String())
	r.noteClock(routing.Contact{Peer: dhttest.PeerID(t)}, err)
	require.Contains(t, log.String(), "this machine's clock, or the peer's, is wrong")
}
