package dialer

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
)

func TestNewRefuses(t *testing.T) {
	at := endpoints.Endpoint{Host: "gw.example.org", Port: 9443}
	for name, test := range map[string]struct {
		opt  Option
		want string
	}{
		"nil":                            {nil, "nil option"},
		"no QUIC":                        {WithQUIC(nil), "no QUIC"},
		"no dial timeout":                {limit(func(l *Limits) { l.DialTimeout = 0 }), "DialTimeout is 0s"},
		"negative reply timeout":         {limit(func(l *Limits) { l.ReplyTimeout = -1 }), "ReplyTimeout is -1ns"},
		"no late reply":                  {limit(func(l *Limits) { l.LateReply = 0 }), "LateReply is 0s"},
		"no idleness":                    {limit(func(l *Limits) { l.Idle = 0 }), "Idle is 0s"},
		"negative backoff":               {limit(func(l *Limits) { l.Backoff = -time.Second }), "Backoff is -1s"},
		"no endpoints":                   {limit(func(l *Limits) { l.MaxEndpoints = 0 }), "MaxEndpoints is 0"},
		"no streams":                     {limit(func(l *Limits) { l.MaxStreams = 0 }), "MaxStreams is 0"},
		"more streams than are granted":  {limit(func(l *Limits) { l.MaxStreams = 101 }), "MaxStreams is 101"},
		"no limits at all":               {WithLimits(Limits{}), "DialTimeout is 0s"},
		"roots that nobody asks":         {WithTLS(identity.TLS{Roots: x509.NewCertPool()}), "not that it is verified"},
		"any host where none is checked": {WithTLS(identity.TLS{AnyHost: true}), "not that it is verified"},
		"two pins of one endpoint":       {WithPins(identity.PinnedEndpoint{Endpoint: at, Pin: identity.Pin{1}}, identity.PinnedEndpoint{Endpoint: at, Pin: identity.Pin{2}}), "two pins"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(test.opt)
			require.ErrorContains(t, err, test.want)
		})
	}
	newDialer(t, WithPins(identity.PinnedEndpoint{Endpoint: at, Pin: identity.Pin{1}}, identity.PinnedEndpoint{Endpoint: at, Pin: identity.Pin{1}}, identity.PinnedEndpoint{Endpoint: at}), backoff(0), WithLimits(DefaultLimits()))
}
