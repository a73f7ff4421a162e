package server_test

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/internal/budget"
	"github.com/macula-mesh/macula-node/protocols/maculadht/dht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/servertest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// valueSize is how long the values of these tests are, about.
const valueSize = 60_000

// storeLong stores a long value under the key "k".
func storeLong(t *testing.T, h *dht.Handlers) {
	t.Helper()
	filler := wire.Pair{Key: "filler", Value: wire.RawBytes(make([]byte, valueSize))}
	h.HandleStore(t.Context(), &wire.Store{Key: []byte("k"), Value: dhttest.Value(servertest.ErlangID("p"), filler)}, dht.Origin{}, server.LibP2P())
	require.EqualValues(t, 1, h.Stats().Stored)
}

// findLong asks for it so many times.
func findLong(t *testing.T, times int) []byte {
	t.Helper()
	return bytes.Repeat(dhttest.Frames(t, &wire.FindValue{Key: []byte("k")}), times)
}

// requireLong reads so many answers with it.
func (p *memPeer) requireLong(answers int) {
	p.T.Helper()
	for range answers {
		f := p.Next()
		require.Equal(p.T, wire.TypeFindValueReply, f.Type)
		require.Greater(p.T, len(f.Payload), valueSize)
	}
}

// Who asks and does not read is disconnected after proto.FrameTimeout, and holds
// about a queue until then.
func TestNeverReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		storeLong(t, r.handlers)
		p := r.serve(server.LibP2P())
		start := time.Now()
		go p.Write(findLong(t, 10_000))
		synctest.Wait()
		held, _ := r.Account.Usage()
		require.Greater(t, held.Memory, int64(gathered))
		require.Less(t, held.Memory, int64(3*r.Mux.Limits().Queue))

		other := r.serve(server.LibP2P())
		other.Send(findLong(t, 1))
		other.requireLong(1)
		other.RequireEnd()

		require.Error(t, <-p.Ended)
		require.Equal(t, proto.FrameTimeout, time.Since(start))
		require.Equal(t, proto.ResetTimeout, (<-p.Stream.Resets).Code)
		r.RequireNothingHeld()
	})
}

// Each part that is taken in time gives the peer as long again.
func TestReadsSlowly(t *testing.T) {
	const asked = 50 // 3 MB, more than ten queues
	tests := map[string]struct {
		every time.Duration // between two answers
		ok    bool
	}{
		"just fast enough": {proto.FrameTimeout - time.Second, true},
		"too slowly":       {proto.FrameTimeout + time.Second, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				storeLong(t, r.handlers)
				p := r.serve(server.LibP2P())
				go p.Write(findLong(t, asked))
				if !test.ok {
					time.Sleep(test.every)
					_, err := io.Copy(io.Discard, p)
					require.NoError(t, err) // it ends
					require.Error(t, <-p.Ended)
					require.Equal(t, proto.ResetTimeout, (<-p.Stream.Resets).Code)
					return
				}
				for range asked {
					time.Sleep(test.every)
					p.requireLong(1)
				}
				p.RequireEnd()
				r.RequireNothingHeld()
				require.EqualValues(t, asked, r.handlers.Stats().Hits)
			})
		})
	}
}

// serveHost serves the protocol on a host until the test ends.
func serveHost(t *testing.T, h *dht.Handlers) host.Host {
	t.Helper()
	srv := dhttest.Host(t)
	var serving sync.WaitGroup
	srv.SetStreamHandler(proto.ProtocolID, func(s network.Stream) {
		serving.Add(1)
		defer serving.Done()
		account := h.Mux().Budget().Open(sourceOf(s))
		defer account.Close()
		h.Mux().Serve(t.Context(), server.HostStream{Stream: s}, &server.Session{Dialect: server.LibP2P(), Peer: s.Conn().RemotePeer(), Account: account})
	})
	t.Cleanup(func() {
		srv.RemoveStreamHandler(proto.ProtocolID)
		serving.Wait()
	})
	return srv
}

func sourceOf(s network.Stream) budget.Source {
	return budget.Source{Name: s.Conn().RemotePeer().String()}
}

// A pipeliner that reads gets all that it asked for, however much it is.
func TestPipelinesMoreThanAQueue(t *testing.T) {
	const asked = 300 // 18 MB
	h := newHandlers(t)
	storeLong(t, h)
	s := dhttest.Open(t, dhttest.Host(t), serveHost(t, h))
	s.WriteAll(findLong(t, asked))
	for range asked {
		require.Len(t, s.Next().(*wire.FindValueReply).Values, 1)
	}
	require.NoError(t, s.CloseWrite())
	_, err := s.In.Next()
	require.ErrorIs(t, err, io.EOF)
}

// stall serves so many streams of a source, each of which asks for long values and
// reads no answer. All are left at the end of the test.
func (r *rig) stall(source budget.Source, streams int, asks []byte) {
	r.T.Helper()
	account := r.Mux.Budget().Open(source)
	r.T.Cleanup(account.Close)
	before := r.Account
	r.Account = account
	defer func() { r.Account = before }()
	for range streams {
		p := r.serve(server.LibP2P())
		go p.Write(asks)
	}
}

// However many sources hold all that their answers may have of the total, who
// comes from elsewhere has its first questions answered: a part is kept for the
// first bytes of each stream.
func TestNewcomerBesideSlowReaders(t *testing.T) {
	const most = 8 << 20
	tests := map[string]struct {
		total int64
		slow  func(n int) budget.Source // the n-th
		new   budget.Source
	}{
		"of other groups": {most, func(n int) budget.Source { return budget.Source{Name: fmt.Sprint(n), Group: fmt.Sprint(n / 2)} },
			budget.Source{Name: "new", Group: "new"}},
		"of its group": {4 * most, func(n int) budget.Source { return budget.Source{Name: fmt.Sprint(n), Group: "all"} },
			budget.Source{Name: "new", Group: "all"}},
		"of no group": {most, func(n int) budget.Source { return budget.Source{Name: fmt.Sprint(n)} },
			budget.Source{Name: "new"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const sources, streams = 16, 8
				r := newRig(t, limits(func(l *server.Limits) {
					l.Accounts.Source.Memory, l.Accounts.Group.Memory, l.Accounts.TotalMemory = 2<<20, most, test.total
				}))
				storeLong(t, r.handlers)
				asks := findLong(t, 100)
				for n := range sources {
					r.stall(test.slow(n), streams, asks)
				}
				synctest.Wait()
				held := r.Mux.Budget().Usage().Memory
				require.Greater(t, held, int64(most*7/10), "what may be taken is")
				require.LessOrEqual(t, held, int64(most*3/4+sources*streams*2*firstBytes), "of the last quarter only first bytes, of reading and of answers")

				r.Account = r.Mux.Budget().Open(test.new)
				start := time.Now()
				for range 4 { // streams
					p := r.serve(server.LibP2P())
					p.Send(dhttest.Frames(t, &wire.Ping{Timestamp: wire.Some[int64](1)}))
					require.Equal(t, wire.TypePong, p.Next().Type)
					p.Send(dhttest.Frames(t, &wire.FindNode{Target: []byte("x")}))
					m, err := p.Next().Decode()
					require.NoError(t, err)
					require.Empty(t, m.(*wire.FindNodeReply).Reason, "not busy")
					p.RequireEnd()
				}
				require.Zero(t, time.Since(start), "at once")
				require.Eventually(t, func() bool { return r.Mux.Budget().Usage().Memory == 0 }, 10*proto.FrameTimeout, time.Second, "all is given back")
			})
		})
	}
}

// What is held for peers that do not read is little more than what their account
// says.
func TestAccountsTellTheTruth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const streams = 64
		r := newRig(t)
		storeLong(t, r.handlers)
		asks := findLong(t, 100)
		var peers [streams]*memPeer
		for i := range peers {
			peers[i] = r.serve(server.LibP2P())
		}
		heap := func() int64 {
			var m runtime.MemStats
			synctest.Wait()
			runtime.GC()
			runtime.GC() // what pools kept is gone by the second
			runtime.ReadMemStats(&m)
			return int64(m.HeapAlloc)
		}
		reserved := func() int64 { return r.Mux.Budget().Usage().Memory }
		heapBefore, reservedBefore := heap(), reserved()
		for _, p := range peers {
			go p.Write(asks)
		}
		grown, more := heap()-heapBefore, reserved()-reservedBefore
		require.Greater(t, more, int64(streams*gathered))
		require.LessOrEqual(t, reserved(), server.DefaultLimits().Accounts.Source.Memory)
		require.LessOrEqual(t, float64(grown), 1.3*float64(more), "%d bytes of heap, %d reserved", grown, more)
		for _, p := range peers {
			require.Error(t, <-p.Ended)
		}
		require.Zero(t, reserved())
	})
}
