package server

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
)

// noDeadlines is a connection without deadlines: those of net.Pipe allocate.
type noDeadlines struct{ net.Conn }

func (noDeadlines) SetReadDeadline(time.Time) error  { return nil }
func (noDeadlines) SetWriteDeadline(time.Time) error { return nil }

// A FIND_VALUE that hits is nearly all of the traffic: answering it allocates
// nothing.
func TestFindValueAllocatesNothing(t *testing.T) {
	for name, d := range map[string]Dialect{"libp2p": LibP2P(), "macula": Erlang()} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.wrap = func(c net.Conn) net.Conn { return noDeadlines{c} }
			h := r.handlers
			h.HandleStore(t.Context(), &wire.Store{Key: []byte("k"), Value: dhttest.Value(erlangID("p"))}, Origin{}, d)
			p := r.serve(d)
			ask := dhttest.Frames(t, &wire.FindValue{Key: []byte("k")})
			p.write(ask)
			answer := make([]byte, 4096)
			n, err := p.Read(answer)
			require.NoError(t, err)
			allocated := testing.AllocsPerRun(2000, func() {
				if _, err := p.Write(ask); err != nil {
					t.Error(err)
				}
				if _, err := io.ReadFull(p, answer[:n]); err != nil {
					t.Error(err)
				}
			})
			require.Zero(t, allocated)
			require.EqualValues(t, 2002, h.Stats().Hits)
			p.requireEnd()
		})
	}
}
