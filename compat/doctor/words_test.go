package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

func TestWords(t *testing.T) {
	unreachable := func(err error) error { return fmt.Errorf("reach https://x:1: %w: %w", proto.ErrUnreachable, err) }
	for name, test := range map[string]struct {
		err     error
		want    string
		silence bool
	}{
		"no such name":  {unreachable(&net.DNSError{Err: "no such host", Name: "x", IsNotFound: true}), "no address: no such host", false},
		"certificate":   {unreachable(&tls.CertificateVerificationError{Err: errors.New("unknown authority")}), "certificate refused: unknown authority", false},
		"time is up":    {unreachable(context.DeadlineExceeded), "no answer within 2s", true},
		"no reply":      {unreachable(fmt.Errorf("%w within 1s", dialer.ErrNoReply)), "no answer within 2s", true},
		"left alone":    {fmt.Errorf("reach: %w", dialer.ErrBackoff), "left alone: it kept silent", true},
		"an error":      {fmt.Errorf("call: %w", &proto.RemoteError{Code: "busy", Message: "later"}), "busy: later", false},
		"anything else": {unreachable(errors.New("network is down")), "network is down", false},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, test.want, words(test.err, 2*time.Second))
			require.Equal(t, test.silence, isSilence(test.err))
		})
	}
}
