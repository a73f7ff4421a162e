package rpc_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/macula-mesh/macula-node/compat/gateway"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/interop/glass"
)

// echo answers each RPC_REQUEST with its args, until the stream ends.
func (e *erlang) echo() {
	for {
		f, err := e.in.Next()
		if err != nil {
			return
		}
		m, err := f.Decode()
		if request, ok := m.(*wire.RPCRequest); ok && err == nil {
			b, _ := framing.AppendFrame(nil, &wire.RPCReply{RequestID: request.RequestID, FromNode: request.TargetNode, ToNode: request.FromNode, Result: request.Args})
			if _, err := e.stream.Write(b); err != nil {
				return
			}
		}
	}
}

const (
	// busyFloor is allowed whatever the ratio: the flood itself takes the processors too.
	busyFloor = 500 * time.Millisecond
	// floodRate is how many calls a second a flood has: in the time of one, twenty times what
	// a caller may have under way, and no more than a machine can write beside all else.
	floodRate = 5000
)

// Somebody who calls without end, what nobody answers, is told that he has too much under
// way; the calls of others go on.
func TestFloodOfCalls(t *testing.T) { // by itself: it takes what the machine has
	n := startNode(t)
	go dial(t, n, "127.0.0.1").as(bob).echo()
	silent := dial(t, n, "127.0.0.1").as(carol)
	go io.Copy(io.Discard, silent.stream)
	honest := dial(t, n, "127.0.0.1").as(alice)
	slowest := func() (worst time.Duration) {
		for i := range 100 {
			begun := time.Now()
			honest.send(route(byte(i%10), alice, bob, "p", "1"))
			reply := honest.message().(*wire.Reply)
			require.Nil(t, reply.Error, "call %d", i)
			worst = max(worst, time.Since(begun))
		}
		return worst
	}
	calm := slowest()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	pace := rate.NewLimiter(floodRate, floodRate/10)
	var flooders [2]*erlang
	for i := range flooders {
		f := dial(t, n, "127.0.0.9").as("mallory-------------------------")
		flooders[i] = f
		go io.Copy(io.Discard, f.stream)
		flood, err := framing.AppendFrame(nil, route(1, "m", carol, "p", "{}"))
		require.NoError(t, err)
		go func() {
			for pace.Wait(ctx) == nil {
				if _, err := f.stream.Write(flood); err != nil {
					return
				}
			}
		}()
	}
	busy := func() bool {
		s := n.Calls().Stats()
		return s.BusyCaller > 0 || n.Service().Handlers().Mux().Stats().Busy > 0
	}
	require.Eventually(t, busy, patience, tick)
	flooded := slowest()
	t.Logf("the slowest call of others: %v, %v beside the flood", calm, flooded)
	require.LessOrEqual(t, flooded, max(3*calm, busyFloor))
	require.LessOrEqual(t, n.Calls().Stats().Pending, 1024+1, "of the flood no more than one caller may have")
	stop()
	for _, f := range flooders {
		f.conn.CloseWithError(0, "")
	}
}

// benchmarkCalls has a caller ask a provider over something that passes frames on, and
// reports how many calls a second are answered, and how long the slowest of a hundred take.
func benchmarkCalls(b *testing.B, caller, provider *erlang, ask func(i int) wire.Message) {
	go provider.echo()
	const inFlight = 64
	b.ResetTimer()
	done := make(chan struct{})
	slots := make(chan struct{}, inFlight)
	begun, took := make([]atomic.Int64, b.N), make([]int64, 0, b.N)
	go func() {
		defer close(done)
		for range b.N {
			f, err := caller.in.Next()
			if err != nil {
				return
			}
			id, is := wire.Raw(f.Payload).Field("call_id")
			if !is {
				id, _ = wire.Raw(f.Payload).Field("request_id")
			}
			number, _ := id.Bytes()
			took = append(took, time.Now().UnixNano()-begun[binary.BigEndian.Uint64(number[8:])].Load())
			<-slots
		}
	}()
	for i := range b.N {
		slots <- struct{}{}
		begun[i].Store(time.Now().UnixNano())
		caller.send(ask(i))
	}
	<-done
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100])/1000, "p99-µs")
}

// BenchmarkCalls: calls of one client to another, through a gateway, and through what
// passes the same frames on and does nothing else.
func BenchmarkCalls(b *testing.B) {
	args := wire.RawText(`{"x":1}`)
	numbered := func(i int) []byte { return binary.BigEndian.AppendUint64(make([]byte, 8), uint64(i)) }
	b.Run("RPC_ROUTE", func(b *testing.B) {
		n := startNode(b)
		benchmarkCalls(b, dial(b, n, "127.0.0.1").as(alice), dial(b, n, "127.0.0.1").as(bob), func(i int) wire.Message {
			call := wire.Call{Procedure: "p", Args: args, CallID: numbered(i), Realm: realm}
			return &wire.RPCRoute{Route: wire.Route{Destination: []byte(bob), Source: []byte(alice), MaxHops: 10, Payload: call.AppendPayload(nil)}, PayloadType: wire.PayloadCall}
		})
	})
	request := func(i int) wire.Message {
		return &wire.RPCRequest{Kind: wire.TextRPCRequest, RequestID: numbered(i), Procedure: "p", Args: args, FromNode: []byte(alice), TargetNode: []byte(bob), Realm: realm, Timestamp: wire.Some(time.Now().UnixMilli())}
	}
	b.Run("RPC_REQUEST", func(b *testing.B) {
		n := startNode(b)
		benchmarkCalls(b, dial(b, n, "127.0.0.1").as(alice), dial(b, n, "127.0.0.1").as(bob), request)
	})
	b.Run("bare relay", func(b *testing.B) {
		caller, provider := bareRelay(b)
		benchmarkCalls(b, caller, provider, request)
	})
}

// bareRelay copies whole frames between two connections, each as soon as it came.
func bareRelay(b *testing.B) (caller, provider *erlang) {
	cert, err := gateway.SelfSign(nil)
	require.NoError(b, err)
	l, err := quic.ListenAddr("127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{glass.ALPN}}, nil)
	require.NoError(b, err)
	b.Cleanup(func() { l.Close() })
	ends := make(chan *quic.Stream, 2)
	go func() {
		for range 2 {
			conn, err := l.Accept(context.Background())
			if err != nil {
				return
			}
			s, err := conn.AcceptStream(context.Background())
			if err != nil {
				return
			}
			ends <- s
		}
	}()
	open := func() *erlang {
		conn, err := quic.DialAddr(within(b), l.Addr().(*net.UDPAddr).String(), &tls.Config{NextProtos: []string{glass.ALPN}, InsecureSkipVerify: true}, nil)
		require.NoError(b, err)
		b.Cleanup(func() { conn.CloseWithError(0, "") })
		e := (&erlang{tb: b, conn: conn}).open()
		e.send(&wire.Ping{}) // so that the other end sees the stream
		return e
	}
	caller, provider = open(), open()
	one, other := <-ends, <-ends
	pass := func(from, to *quic.Stream) {
		in := framing.NewReader(from)
		for first := true; ; first = false {
			f, err := in.Next()
			if err != nil {
				return
			}
			if first && f.Type == wire.TypePing {
				continue
			}
			out, _ := framing.AppendFrame(nil, &wire.Opaque{MessageType: f.Type, Fields: f.Payload})
			if _, err := to.Write(out); err != nil {
				return
			}
		}
	}
	go pass(one, other)
	go pass(other, one)
	return caller, provider
}
