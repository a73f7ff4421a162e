package client

import (
	"encoding/binary"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
)

// What is stored under one key goes on one stream, so that the last one asked for is
// the one that stays, however busy the peer is.
func TestStoresOfAKeyShareAStream(t *testing.T) {
	const keys, each = 16, 20
	for _, name := range []string{"STORE", "_dht.store"} {
		t.Run(name, func(t *testing.T) {
			srv := dhttest.Host(t)
			var mu sync.Mutex
			streams := make(map[string]map[int]bool) // of each key
			last := make(map[string]uint64)
			note := func(n int, key []byte, value wire.Raw) {
				mu.Lock()
				defer mu.Unlock()
				if streams[string(key)] == nil {
					streams[string(key)] = make(map[int]bool)
				}
				streams[string(key)][n] = true
				id, _ := value.Field("node_id")
				b, _ := id.Bytes()
				if i := binary.BigEndian.Uint64(b); i >= last[string(key)] {
					last[string(key)] = i
				} else {
					t.Errorf("%s: %d came after %d", key, i, last[string(key)])
				}
			}
			dhttest.Script(t, srv, func(n int, s *dhttest.Scripted) {
				for m := s.Next(); m != nil; m = s.Next() {
					switch m := m.(type) {
					case *wire.Store:
						note(n, m.Key, m.Value)
					case *wire.Call:
						var args procedures.StoreArgs
						if args.Decode(m.Args) == nil {
							note(n, args.Key, args.Value)
						}
						s.Reply(&wire.Reply{CallID: m.CallID, Result: dhttest.StoreOK})
					}
				}
			})
			c := newClient(t, dhttest.Host(t), WithLimits(Limits{Streams: 4, Pipeline: 2, Timeout: dhttest.Patience}))
			var callers sync.WaitGroup
			for k := range keys {
				callers.Go(func() {
					key := []byte{'k', byte(k)}
					for i := range each {
						value := wire.RawMap(wire.Pair{Key: "node_id", Value: wire.RawBytes(binary.BigEndian.AppendUint64(nil, uint64(i)))})
						var err error
						if name == "STORE" {
							err = c.Send(dhttest.Context(t), dhttest.Contact(srv), &wire.Store{Key: key, Value: value})
						} else {
							err = Put(dhttest.Context(t), c, dhttest.Contact(srv), procedures.StoreArgs{Key: key, Value: value})
						}
						if err != nil {
							t.Error(err)
						}
					}
				})
			}
			callers.Wait()
			require.Eventually(t, func() bool {
				mu.Lock()
				defer mu.Unlock()
				for k := range keys {
					if last[string([]byte{'k', byte(k)})] != each-1 {
						return false
					}
				}
				return true
			}, dhttest.Patience, time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			for key, on := range streams {
				require.Len(t, on, 1, "%q", key)
			}
		})
	}
}

// A connection that a connection manager closes says nothing of the value: it is
// stored over another one. What else is called is not asked twice.
func TestStoreOutlivesItsConnection(t *testing.T) {
	srv, h := dhttest.Host(t), dhttest.Host(t)
	opened := dhttest.Script(t, srv, func(n int, s *dhttest.Scripted) {
		if n == 1 || n == 3 {
			s.Next()
			h.Network().ClosePeer(srv.ID())
			return
		}
		s.Answer()
	})
	c := newClient(t, h)
	require.NoError(t, Put(dhttest.Context(t), c, dhttest.Contact(srv), procedures.StoreArgs{Key: []byte("k"), Value: dhttest.Value("me")}))
	require.EqualValues(t, 2, opened.Load())
	require.NoError(t, h.Network().ClosePeer(srv.ID()))
	_, err := c.Query(dhttest.Context(t), dhttest.Contact(srv), &wire.Call{Procedure: "count.up", Args: wire.RawMap(), CallID: []byte("1")})
	require.ErrorIs(t, err, ErrBroken)
	require.EqualValues(t, 3, opened.Load())
}
