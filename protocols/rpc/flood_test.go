package rpc_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
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
	"github.com/macula-mesh/macula-node/node"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/rpc"
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
	// floodRate is how many frames a second a flood has: in the time of a call, twenty times
	// what a caller may have under way, and no more than a machine can write beside all else.
	floodRate = 5000 / raceSlower
	// slowdown is how many times longer a call of others may take beside a flood, at the 99th
	// of 100, than where the same flood goes to another node on the machine.
	slowdown = 3
	// measures is how often it is measured before it counts as too long: others have work
	// for the machine as well.
	measures = 6
)

// flood writes a frame to streams in turn, until it is stopped.
func flood(t *testing.T, to []*erlang, frame func(i int) wire.Message) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var writing sync.WaitGroup
	pace := rate.NewLimiter(floodRate, floodRate/10)
	for s, e := range to {
		writing.Go(func() {
			for i := s; pace.Wait(ctx) == nil; i += len(to) {
				b, _ := framing.AppendFrame(nil, frame(i))
				_ = e.stream.SetWriteDeadline(time.Now().Add(time.Second))
				if _, err := e.stream.Write(b); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
					return
				}
			}
		})
	}
	return func() {
		cancel()
		writing.Wait()
	}
}

// Somebody who floods holds the calls of others up no more than the same work for the
// machine does: be it by calls that nobody answers, by subscriptions or by what he publishes.
func TestFloods(t *testing.T) { // by itself: it takes what the machine has
	victim, other := startNode(t), startNode(t)
	flooders := make(map[*node.Node][]*erlang)
	for _, n := range []*node.Node{victim, other} {
		silent := dial(t, n, "127.0.0.1").as(carol)
		go io.Copy(io.Discard, silent.stream)
		for range 2 {
			f := dial(t, n, "127.0.0.9").as("mallory-------------------------")
			go io.Copy(io.Discard, f.stream)
			flooders[n] = append(flooders[n], f)
		}
	}
	go dial(t, victim, "127.0.0.1").as(bob).echo()
	honest := dial(t, victim, "127.0.0.1").as(alice)
	for name, frame := range map[string]func(i int) wire.Message{
		"calls":      func(i int) wire.Message { return route(byte(i%10), "m", carol, "p", "{}") },
		"subscribes": func(i int) wire.Message { return &wire.Subscribe{Topics: []string{fmt.Sprint("flood.", i)}} },
		"publishes": func(i int) wire.Message {
			return &wire.Publish{Topic: fmt.Sprint("flood.", i), Payload: wire.RawText("1"), MessageID: make([]byte, 16)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			beside := func(n *node.Node) time.Duration {
				stop := flood(t, flooders[n], frame)
				defer stop()
				before := frames(n)
				require.Eventually(t, func() bool { return frames(n) > before+floodRate/10 }, patience, tick, "it floods")
				took := make([]time.Duration, 100)
				for i := range took {
					begun := time.Now()
					honest.send(route(byte(i%10), alice, bob, "p", "1"))
					reply := honest.message().(*wire.Reply)
					require.Nil(t, reply.Error, "call %d", i)
					took[i] = time.Since(begun)
				}
				slices.Sort(took)
				return took[98]
			}
			var calm, flooded time.Duration
			for range measures {
				calm, flooded = beside(other), beside(victim)
				t.Logf("the 99th of 100 calls of others: %v while another node is flooded, %v beside the flood", calm, flooded)
				if flooded <= slowdown*calm {
					break
				}
			}
			require.LessOrEqual(t, flooded, slowdown*calm)
			require.LessOrEqual(t, victim.Calls().Stats().Pending, 1024+1, "of the flood no more than one caller may have")
		})
	}
}

// frames returns how many frames a node has taken.
func frames(n *node.Node) (all uint64) { return n.Service().Handlers().Mux().Stats().Frames }

// Who floods what somebody answers, with as many streams as he likes or from many addresses
// of his network, is answered busy, and nobody else is: calls of others have their turn.
func TestFloodOfOneProvider(t *testing.T) {
	const streams = 8
	for whom, from := range map[string]func(i int) string{
		"one source":         func(int) string { return "127.0.9.9" },
		"sources of a group": func(i int) string { return fmt.Sprint("127.0.9.", 10+i) },
	} {
		for _, what := range []string{"served", "registered", "elsewhere"} {
			t.Run(what+" by "+whom, func(t *testing.T) {
				n := startGroupedNode(t)
				at := n // where it is served
				if what == "elsewhere" {
					at = startGroupedNode(t, n.Addrs()[0].String())
				}
				slow := func(ctx context.Context, r *rpc.Request) (any, error) {
					var who string
					if _ = r.Unmarshal(&who); who == "flood" {
						select { // as long as it may
						case <-ctx.Done():
						case <-time.After(50 * time.Millisecond):
						}
					}
					return 1, nil
				}
				if what == "registered" {
					bob := dial(t, n, "127.0.1.2").as(bob)
					bob.send(&wire.RegisterProcedure{Procedure: "p"})
					go bob.answerCalls(func(c *wire.Call) wire.Message {
						if who, _ := c.Args.Bytes(); string(who) == "flood" {
							return &wire.Reply{CallID: []byte("never")}
						}
						return &wire.Reply{CallID: c.CallID, Result: wire.RawInt(1)}
					})
				} else {
					_, err := at.Calls().ServeAtOnce(within(t), "p", 8, slow)
					require.NoError(t, err)
				}
				honest := dial(t, n, "127.0.1.1").as(alice)
				call := func(i int) *wire.Reply {
					honest.send(&wire.Call{Procedure: "p", CallID: fmt.Append(nil, i), Args: wire.RawText("honest")})
					return honest.message().(*wire.Reply)
				}
				require.Eventually(t, func() bool { return call(0).Error == nil }, patience, tick)
				var flooders []*erlang
				for i := range streams {
					f := dial(t, n, from(i)).as(fmt.Sprintf("mallory%025d", i))
					go io.Copy(io.Discard, f.stream)
					flooders = append(flooders, f)
				}
				stop := flood(t, flooders, func(i int) wire.Message {
					return &wire.Call{Procedure: "p", CallID: fmt.Append(nil, i), Args: wire.RawText("flood")}
				})
				defer stop()
				require.Eventually(t, func() bool { return n.Calls().Stats().BusyProvider > 0 }, patience, tick, "it floods")
				calls := 30
				if what == "elsewhere" { // where each waits for the other node, too
					calls = 5
				}
				for i := range calls {
					require.Nil(t, call(i).Error, "call %d", i)
				}
			})
		}
	}
}

// startGroupedNode starts a node to which addresses of loopback have IP groups as others have.
func startGroupedNode(t *testing.T, bootstrap ...string) *node.Node {
	limits := maculadht.DefaultLimits()
	limits.Accounts.Everywhere = true
	return startNodeWith(t, &limits, bootstrap...)
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
