package node

import (
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHealth(t *testing.T) {
	n, err := New(Config{DataDir: t.TempDir(), Listen: []string{"/ip4/127.0.0.1/udp/0/quic-v1"}, Health: "127.0.0.1:0"})
	require.NoError(t, err)
	defer n.Close()
	_, err = n.Topics().Subscribe(t.Context(), "t")
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + n.HealthAddr() + "/metrics")
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	for _, line := range []string{"macula_gateway_ready 1\n", "macula_gateway_subscriptions_total 1\n", "macula_gateway_registrations_total 3\n", "macula_gateway_clients_total 0\n"} {
		require.Contains(t, string(body), line)
	}
	require.True(t, n.Ready())
	require.NoError(t, n.Close())
	require.False(t, n.Ready())
	_, err = client.Get("http://" + n.HealthAddr() + "/live")
	require.Error(t, err)
}
