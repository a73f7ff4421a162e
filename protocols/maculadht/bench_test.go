package maculadht

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	kaddht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/dht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// The sizes of a FIND_VALUE and of its answer, one provider, as they travel.
const (
	questionSize = 60
	answerSize   = 200
)

// BenchmarkFindValue asks for a value that is there, over loopback, with so
// many requests in flight. Compare only within one run: "echo" is what the
// transport carries of the same bytes on as many streams, "echo-callers" the
// same where each request has a goroutine that waits for its answer, as those
// of any client have, and "kad-dht" what libp2p's own DHT makes of a PING.
func BenchmarkFindValue(b *testing.B) {
	for _, inFlight := range []int{1, 32, 256} {
		b.Run(fmt.Sprintf("echo/%d", inFlight), func(b *testing.B) { benchmarkEcho(b, inFlight) })
		b.Run(fmt.Sprintf("echo-callers/%d", inFlight), func(b *testing.B) { benchmarkEchoCallers(b, inFlight) })
		b.Run(fmt.Sprintf("maculadht/%d", inFlight), func(b *testing.B) { benchmarkMacula(b, inFlight) })
		b.Run(fmt.Sprintf("kad-dht/%d", inFlight), func(b *testing.B) { benchmarkKad(b, inFlight) })
	}
}

func benchmarkMacula(b *testing.B, inFlight int) {
	srv, asker := dhttest.Host(b), dhttest.Host(b)
	s := newService(b, srv, frames(rate.Inf, 1))
	cl := newClient(b, asker)
	to := dhttest.Contact(srv)
	key := make([]byte, 44)
	value := dhttest.Value(string(make([]byte, 32)), wire.Pair{Key: "endpoint", Value: wire.RawText(string(make([]byte, 70)))})
	s.Handlers().HandleStore(context.Background(), &wire.Store{Key: key, Value: value}, dht.Origin{}, server.LibP2P())

	ctx := b.Context()
	reply, err := client.FindValue(ctx, cl, to, key)
	require.NoError(b, err)
	require.Len(b, dhttest.Frames(b, &wire.FindValue{Key: key}), questionSize)
	require.Len(b, dhttest.Frames(b, reply), answerSize)
	benchmark(b, inFlight, func() error {
		_, err := client.FindValue(ctx, cl, to, key)
		return err
	})
}

func benchmarkKad(b *testing.B, inFlight int) {
	srv, asker := dhttest.Host(b), dhttest.Host(b)
	newKad(b, srv)
	cl := newKad(b, asker)
	dhttest.Connect(b, asker, srv)
	ctx := b.Context()
	require.NoError(b, cl.Ping(ctx, srv.ID()))
	benchmark(b, inFlight, func() error { return cl.Ping(ctx, srv.ID()) })
}

func newKad(b *testing.B, h host.Host) *kaddht.IpfsDHT {
	b.Helper()
	d, err := kaddht.New(h, kaddht.Mode(kaddht.ModeServer), kaddht.ProtocolPrefix("/bench"), kaddht.BootstrapPeers())
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, d.Close()) })
	return d
}

// benchmark has inFlight callers call ask until b.N answers have come.
func benchmark(b *testing.B, inFlight int, ask func() error) {
	var callers sync.WaitGroup
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ReportAllocs()
	b.ResetTimer()
	for range inFlight {
		callers.Go(func() {
			for left.Add(-1) >= 0 {
				if err := ask(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	callers.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
}

// benchmarkEcho has no callers that wait for their own answer, no messages and
// no routing: each stream is kept full by one goroutine that writes and one
// that reads.
func benchmarkEcho(b *testing.B, inFlight int) {
	const echo protocol.ID = "/macula/bench/echo"
	srv, asker := dhttest.Host(b), dhttest.Host(b)
	srv.SetStreamHandler(echo, serveEcho)
	dhttest.Connect(b, asker, srv)

	streams := (inFlight + client.DefaultLimits().Pipeline - 1) / client.DefaultLimits().Pipeline
	var tasks sync.WaitGroup
	b.ResetTimer()
	for i := range streams {
		s, err := asker.NewStream(b.Context(), srv.ID(), echo)
		require.NoError(b, err)
		n := b.N / streams
		if i == 0 {
			n += b.N % streams
		}
		tasks.Go(func() {
			defer s.Close()
			if err := askEcho(b.Context(), s, n, inFlight/streams); err != nil {
				b.Error(err)
			}
		})
	}
	tasks.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
}

func serveEcho(s network.Stream) {
	defer s.Close()
	in, out := bufio.NewReader(s), bufio.NewWriterSize(s, 32<<10)
	question, answer := make([]byte, questionSize), make([]byte, answerSize)
	for {
		if _, err := io.ReadFull(in, question); err != nil {
			return
		}
		out.Write(answer)
		if in.Buffered() < questionSize && out.Flush() != nil {
			return
		}
	}
}

// askEcho asks n times, with inFlight questions on the way.
func askEcho(ctx context.Context, s network.Stream, n, inFlight int) error {
	slots := make(chan struct{}, inFlight)
	written := make(chan error, 1)
	go func() {
		out := bufio.NewWriterSize(s, 32<<10)
		question := make([]byte, questionSize)
		for range n {
			select {
			case slots <- struct{}{}:
			default:
				if err := out.Flush(); err != nil {
					written <- err
					return
				}
				select {
				case slots <- struct{}{}:
				case <-ctx.Done():
					written <- ctx.Err()
					return
				}
			}
			out.Write(question)
		}
		written <- out.Flush()
	}()
	in := bufio.NewReaderSize(s, 32<<10)
	answer := make([]byte, answerSize)
	for range n {
		if _, err := io.ReadFull(in, answer); err != nil {
			s.Reset()
			return err
		}
		<-slots
	}
	return <-written
}

// echoCaller waits for its answers, one after the other.
type echoCaller chan struct{}

// echoPipe is the least that lets callers share a stream.
type echoPipe struct {
	stream network.Stream
	wake   chan struct{}

	mu      sync.Mutex
	out     []byte
	waiting []echoCaller
}

func (p *echoPipe) ask(question []byte, caller echoCaller) {
	p.mu.Lock()
	p.out = append(p.out, question...)
	p.waiting = append(p.waiting, caller)
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
	<-caller
}

func (p *echoPipe) write() {
	var spare []byte
	for range p.wake {
		runtime.Gosched()
		p.mu.Lock()
		out := p.out
		p.out = spare[:0]
		p.mu.Unlock()
		p.stream.Write(out)
		spare = out
	}
	p.stream.Close()
}

func (p *echoPipe) read() {
	in := bufio.NewReaderSize(p.stream, 32<<10)
	answer := make([]byte, answerSize)
	for {
		if _, err := io.ReadFull(in, answer); err != nil {
			return
		}
		p.mu.Lock()
		caller := p.waiting[0]
		p.waiting = p.waiting[1:]
		p.mu.Unlock()
		caller <- struct{}{}
	}
}

func benchmarkEchoCallers(b *testing.B, inFlight int) {
	const echo protocol.ID = "/macula/bench/echo"
	srv, asker := dhttest.Host(b), dhttest.Host(b)
	srv.SetStreamHandler(echo, serveEcho)
	dhttest.Connect(b, asker, srv)

	pipes := make([]*echoPipe, (inFlight+client.DefaultLimits().Pipeline-1)/client.DefaultLimits().Pipeline)
	var tasks sync.WaitGroup
	for i := range pipes {
		s, err := asker.NewStream(b.Context(), srv.ID(), echo)
		require.NoError(b, err)
		pipes[i] = &echoPipe{stream: s, wake: make(chan struct{}, 1)}
		tasks.Go(pipes[i].read)
		tasks.Go(pipes[i].write)
	}
	var next atomic.Int64
	callers := sync.Pool{New: func() any { return make(echoCaller, 1) }}
	question := make([]byte, questionSize)
	benchmark(b, inFlight, func() error {
		caller := callers.Get().(echoCaller)
		pipes[int(next.Add(1))%len(pipes)].ask(question, caller)
		callers.Put(caller)
		return nil
	})
	for _, p := range pipes {
		close(p.wake)
		p.stream.CloseRead()
	}
	tasks.Wait()
}
