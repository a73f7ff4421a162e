package routing

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// traced keeps what it was told last.
type traced struct{ contacts int }

func (m *traced) TableSize(contacts int) { m.contacts = contacts }

func TestMetricsTracer(t *testing.T) {
	m := &traced{}
	s := newServer(t, WithMetricsTracer(m))
	for i := range 3 {
		require.NoError(t, s.Admit(libp2pContact(ID{byte(1 + i)}, "p")))
	}
	require.Equal(t, 3, m.contacts)
	s.Forget(ID{1})
	require.Equal(t, 2, m.contacts)
	for range MaxFailures {
		s.Table().Failed(ID{2}, time.Now())
	}
	require.Equal(t, 1, m.contacts)
}
