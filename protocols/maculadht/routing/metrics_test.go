package routing

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// traced keeps what it was told last.
type traced struct{ peers, erlang int }

func (m *traced) TableSize(peers, erlang int) { m.peers, m.erlang = peers, erlang }

func TestMetricsTracer(t *testing.T) {
	m := &traced{}
	s := newServer(t, WithMetricsTracer(m))
	for i := range 3 {
		require.NoError(t, s.Admit(libp2pContact(ID{byte(1 + i)}, "p")))
	}
	require.NoError(t, s.Admit(erlangContact(ID{9}, "https://192.0.2.1:9443")))
	require.Equal(t, &traced{peers: 3, erlang: 1}, m)
	s.Table().Doubt(ID{1}, time.Now().Add(time.Minute))
	require.Equal(t, Stats{Contacts: 4, Peers: 3, Doubtful: 1}, s.Stats())
	s.Forget(ID{1})
	require.Equal(t, &traced{peers: 2, erlang: 1}, m)
	for range MaxFailures {
		s.Table().Failed(ID{2}, time.Now())
	}
	require.Equal(t, &traced{peers: 1, erlang: 1}, m)
	s.Forget(ID{9})
	require.Equal(t, &traced{peers: 1}, m)
}
