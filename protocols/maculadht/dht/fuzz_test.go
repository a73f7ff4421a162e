package dht

import (
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// FuzzServe sends anything, cut anywhere, to a stream with all handlers of the
// DHT: each split is the length of the next Write.
func FuzzServe(f *testing.F) {
	key, value := []byte("k"), dhttest.Value("p", wire.Pair{Key: "endpoint", Value: wire.RawText("https://a:1")})
	conversation := dhttest.Frames(f,
		&wire.Connect{NodeID: []byte("n"), RealmID: "default"},
		&wire.Store{Key: key, Value: value},
		&wire.FindValue{Key: key},
		&wire.FindNode{Target: key},
		&wire.Ping{Timestamp: wire.Some[int64](1)},
		&wire.Call{Procedure: wire.ProcedureListGateways, CallID: []byte("c")},
		&wire.NATProbe{},
		&wire.RPCRequest{Procedure: "p"},
		&wire.Publish{Topic: "t"})
	for _, erlang := range []bool{false, true} {
		f.Add(conversation, []byte{}, erlang)
		f.Add(conversation, []byte{1, 7, 3, 200}, erlang)
		f.Add(conversation[:len(conversation)-3], []byte{8}, erlang)
		f.Add(append(dhttest.Frame(wire.TypeFindValue, 0x80), conversation...), []byte{5}, erlang)
		f.Add(append(conversation, dhttest.Frame(wire.TypePing, 0x90)...), []byte{}, erlang)
		f.Add([]byte{framing.Version, byte(wire.TypeStore), 0, 0, 0xff, 0xff, 0xff, 0xff, 1}, []byte{3}, erlang)
		f.Add([]byte{2}, []byte{}, erlang)
		f.Add([]byte{}, []byte{}, erlang)
	}
	f.Fuzz(func(t *testing.T, b, splits []byte, erlang bool) {
		if len(b) > 64<<10 {
			return
		}
		d := server.LibP2P()
		if erlang {
			d = server.Erlang()
		}
		r := newRig(t)
		p := r.Serve(d)
		go func() {
			for len(b) > 0 {
				n := len(b)
				if len(splits) > 0 {
					n, splits = min(n, 1+int(splits[0])), splits[1:]
				}
				if _, err := p.Write(b[:n]); err != nil {
					return // it was reset
				}
				b = b[n:]
			}
			p.CloseWrite()
		}()
		for {
			frame, err := p.In.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err, "whole frames come back")
			_, err = frame.Decode()
			require.NoError(t, err, "%s that can be decoded", frame.Type)
		}
		err := <-p.Ended
		require.Equal(t, err != nil, len(p.Stream.Resets) == 1 || errors.Is(err, server.ErrTurnedAway))
		require.Zero(t, r.Mux.Clients().Len())
		r.RequireNothingHeld()
	})
}
