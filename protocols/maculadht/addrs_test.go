package maculadht

import (
	"testing"

	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"
)

func TestLearntEndpoint(t *testing.T) {
	const (
		public   = "/ip4/8.8.8.8/udp/9443/quic-v1"
		private  = "/ip4/10.0.0.1/udp/9443/quic-v1"
		loopback = "/ip4/127.0.0.1/udp/9443/quic-v1"
	)
	for name, test := range map[string]struct {
		endpoint, seenAt string
		kept             bool
	}{
		"public from public":             {"https://1.1.1.1:9443", public, true},
		"private from public":            {"https://10.0.0.2:9443", public, false},
		"loopback from public":           {"https://127.0.0.1:9443", public, false},
		"mapped loopback from public":    {"https://[::ffff:127.0.0.1]:9443", public, false},
		"IPv6 loopback from private":     {"https://[::1]:9443", private, false},
		"private from private":           {"https://10.0.0.2:9443", private, true},
		"loopback from private":          {"https://127.0.0.1:9443", private, false},
		"loopback from loopback":         {"https://127.0.0.1:9443", loopback, true},
		"private through a public relay": {"https://10.0.0.2:9443", public + "/p2p-circuit", false},
		"a name":                         {"https://node.example.org:9443", public, true},
		"none":                           {"", public, true},
		"nonsense":                       {"://", public, true},
	} {
		t.Run(name, func(t *testing.T) {
			want := ""
			if test.kept {
				want = test.endpoint
			}
			require.Equal(t, want, learntEndpoint(test.endpoint, ma.StringCast(test.seenAt)))
		})
	}
}
