package gateway

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/internal/compattest"
	"github.com/macula-mesh/macula-node/compat/wire"
)

// idle is a listener to which nobody comes.
type idle struct {
	closed chan struct{}
	once   *sync.Once
}

func newIdle() idle { return idle{make(chan struct{}), new(sync.Once)} }

func (i idle) Addr() net.Addr { return &net.UDPAddr{Port: 1} }
func (i idle) Close() error   { i.once.Do(func() { close(i.closed) }); return nil }
func (i idle) Accept(context.Context) (*quic.Conn, error) {
	<-i.closed
	return nil, net.ErrClosed
}

// Who can not listen again tries ever less often, and says how it stands.
func TestListenerIsOpenedEverLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		refused := errors.New("no room")
		var tries []time.Time
		latest, fails := newIdle(), false
		require.NoError(t, g.Listen(func() (Listener, error) {
			tries = append(tries, time.Now())
			if fails {
				return nil, refused
			}
			latest = newIdle()
			return latest, nil
		}))
		require.NoError(t, g.Listening()[0].Err)

		fails = true
		ended := time.Now()
		latest.Close()
		synctest.Wait()
		require.ErrorIs(t, g.Listening()[0].Err, net.ErrClosed)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		require.ErrorIs(t, g.Listening()[0].Err, refused)
		require.Equal(t, ended, g.Listening()[0].Since)
		var pauses []time.Duration
		for i, at := range tries[1:] {
			before := ended
			if i > 0 {
				before = tries[i]
			}
			pauses = append(pauses, at.Sub(before))
		}
		require.Equal(t, []time.Duration{1, 2, 4, 8, 16, 30, 30}, seconds(pauses))

		fails = false
		time.Sleep(lastReopen)
		synctest.Wait()
		require.NoError(t, g.Listening()[0].Err)

		// One that ends at once does not make it any quicker, one that lasted does.
		ended = time.Now()
		latest.Close()
		time.Sleep(lastReopen)
		synctest.Wait()
		require.Equal(t, lastReopen, tries[len(tries)-1].Sub(ended))
		time.Sleep(lastReopen)
		ended = time.Now()
		latest.Close()
		time.Sleep(firstReopen)
		synctest.Wait()
		require.Equal(t, firstReopen, tries[len(tries)-1].Sub(ended))
	})
}

func seconds(pauses []time.Duration) (s []time.Duration) {
	for _, p := range pauses {
		s = append(s, p/time.Second)
	}
	return s
}

// A port of the gateway's own is opened again under the same number.
func TestOwnPortIsOpenedAgain(t *testing.T) {
	d := openGateway(t)
	dialGateway(t, d.addr).open().connect("a node", "https://127.0.0.1:1")
	d.mu.Lock()
	ln := d.bindings[0].Listener
	d.mu.Unlock()
	require.NoError(t, ln.Close())
	compattest.Eventually(t, func() bool { return d.Listening()[0].Err != nil }, "it is noticed")
	compattest.Eventually(t, func() bool { return d.Listening()[0].Err == nil }, "it is mended")
	require.Equal(t, wire.TypePong, dialGateway(t, d.addr).open().ask(connectOf("another", "https://127.0.0.1:1")).Type)
}
