package maculadht

import (
	"crypto/x509"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
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

// Whichever way a connection fails for it, the log says so.
func TestWrongClockIsSaid(t *testing.T) {
	var log logBook
	s := &Service{log: log.logger()}
	s.noteClock(fmt.Errorf("certificate verification failed: %s", x509.CertificateInvalidError{Reason: x509.Expired}.Error()))
	require.Equal(t, 1, log.count("this machine's clock, or the peer's, is wrong"))
}
