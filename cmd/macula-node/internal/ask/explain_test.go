package ask

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/assert"

	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

func TestExplain(t *testing.T) {
	a := attempt{addr: "https://192.0.2.7:9443", waited: 5041 * time.Millisecond, timeout: 10 * time.Second}
	unreachable := func(err error) error { return fmt.Errorf("ping: %w: %w", proto.ErrUnreachable, err) }
	const advice = "no answer from https://192.0.2.7:9443 within 5s: check the address, and that the node runs and its UDP port can be reached from here"
	tests := []struct {
		name   string
		err    error
		waited time.Duration
		want   string
	}{
		{"deadline", unreachable(context.DeadlineExceeded), 0, advice},
		{"QUIC's idle time-out", unreachable(&quic.IdleTimeoutError{}), 0, advice},
		{"QUIC's handshake time-out", unreachable(&quic.HandshakeTimeoutError{}), 0, advice},
		{"all the time that there was", unreachable(context.DeadlineExceeded), 10 * time.Second,
			strings.Replace(advice, "5s", "10s", 1) + "; --timeout sets how long to wait"},
		{"no such host", unreachable(errors.New("no such host")), 0, "ping: unreachable: no such host; check the address, and that the node runs"},
		{"a clock that is wrong", unreachable(errors.New("CRYPTO_ERROR 0x12a: certificate verification failed: x509: certificate has expired or is not yet valid: current time 2020-01-01T00:00:00Z is before 2026-01-01T00:00:00Z")), 0,
			"the certificate of https://192.0.2.7:9443 is not valid at the time of this machine's clock, NOW: that, or the node's, is wrong by an hour or more; set it"},
		{"refused", &proto.RefusedError{Reason: "realm_mismatch"}, 0, "refused: realm_mismatch"},
		{"an error of the node", &proto.RemoteError{Code: "busy"}, 0, (&proto.RemoteError{Code: "busy"}).Error()},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := a
			if test.waited > 0 {
				a.waited = test.waited
			}
			got := explain(t.Context(), test.err, a)
			assert.Equal(t, test.want, strings.Replace(got.Error(), time.Now().Format(time.RFC3339), "NOW", 1))
			assert.ErrorIs(t, got, test.err, "for the exit code")
		})
	}
	assert.NoError(t, explain(t.Context(), nil, a))
}
