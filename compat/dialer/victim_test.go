package dialer

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	ma "github.com/multiformats/go-multiaddr"
	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/internal/dials"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// silence is a network in which nobody answers.
type silence struct{ dials atomic.Int64 }

func (s *silence) DialQUIC(ctx context.Context, _ ma.Multiaddr, _ *tls.Config, _ func(*quic.Conn, uint64) bool) (*quic.Conn, error) {
	s.dials.Add(1)
	<-ctx.Done()
	return nil, ctx.Err()
}

// A gateway whose list anybody could write to names somebody's address as that of twenty
// nodes, every five minutes and at ports of its own each time: that one is dialled a few
// times, and then now and again.
func TestVictimOfAList(t *testing.T) {
	const hours = 3
	for name, tt := range map[string]struct {
		port func(i int) int
		most int
	}{
		"at one port":    {func(int) int { return 9443 }, 10},
		"at a port each": {func(i int) int { return 1 + i%60_000 }, dials.PerIP + int(hours*time.Hour/dials.IPPause)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				nobody := &silence{}
				d, err := New(WithQUIC(nobody))
				require.NoError(t, err)
				defer d.Close()
				named := 0
				for end := time.Now().Add(hours * time.Hour); time.Now().Before(end); time.Sleep(5 * time.Minute) {
					for range 20 {
						contact := routing.Contact{NodeID: fmt.Appendf(nil, "%032d", named), Endpoint: fmt.Sprintf("https://7.7.7.7:%d", tt.port(named))}
						contact.ID = routing.IDFromBytes(contact.NodeID)
						_, err := d.Verify(t.Context(), contact, func(netip.Addr) bool { return true })
						require.Error(t, err)
						named++
					}
				}
				t.Logf("named %d times, dialled %d times", named, nobody.dials.Load())
				require.Positive(t, nobody.dials.Load())
				require.LessOrEqual(t, int(nobody.dials.Load()), tt.most)
			})
		})
	}
}
