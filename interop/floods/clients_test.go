package floods

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	p2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/multiformats/go-multistream"
	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// kind is which protocol a client speaks.
type kind int

const (
	libp2p kind = iota
	erlang
)

func (k kind) String() string { return [...]string{"libp2p", "Erlang"}[k] }

// source is an address from which connections are made, over one port.
type source struct {
	transport *quic.Transport
	wire      *lossy
}

// lossy is a port on which what comes can be thrown away.
type lossy struct {
	*net.UDPConn
	deaf  atomic.Bool // to all but Retry packets
	gone  atomic.Bool // to all, and mute
	count atomic.Int64
}

func (l *lossy) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := l.UDPConn.ReadFrom(b)
		if err != nil {
			return n, from, err
		}
		isRetry := n > 0 && b[0]&0xf0 == 0xf0
		if l.gone.Load() || l.deaf.Load() && !isRetry {
			continue
		}
		return n, from, nil
	}
}

func (l *lossy) WriteTo(b []byte, to net.Addr) (int, error) {
	if l.gone.Load() {
		return len(b), nil
	}
	l.count.Add(1)
	return l.UDPConn.WriteTo(b, to)
}

// onlyPacketConn hides what would have packets pass by.
type onlyPacketConn struct{ net.PacketConn }

func newSource(ip string) (*source, error) {
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(ip)})
	if err != nil {
		return nil, err
	}
	s := &source{wire: &lossy{UDPConn: udp}}
	s.transport = &quic.Transport{Conn: onlyPacketConn{s.wire}}
	return s, nil
}

func (s *source) close() { _ = errors.Join(s.transport.Close(), s.wire.Close()) }

// sources returns as many addresses, each in a network of its own.
func sources(t *testing.T, n int) []*source {
	t.Helper()
	all := make([]*source, n)
	for i := range all {
		var err error
		all[i], err = newSource(fmt.Sprintf("127.%d.0.1", 10+i))
		require.NoError(t, err)
		t.Cleanup(all[i].close)
	}
	return all
}

// dial makes a connection, of a new identity.
func (s *source) dial(ctx context.Context, to *target, as kind, config *quic.Config) (*quic.Conn, error) {
	conf := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"macula"}}
	if as == libp2p {
		key, _, err := crypto.GenerateEd25519Key(rand.Reader)
		if err != nil {
			return nil, err
		}
		identity, err := p2ptls.NewIdentity(key)
		if err != nil {
			return nil, err
		}
		conf, _ = identity.ConfigForPeer(to.peer)
	}
	return s.transport.Dial(ctx, to.addr, conf, config)
}

// open opens a stream that speaks the protocol.
func open(ctx context.Context, conn *quic.Conn, as kind) (*quic.Stream, error) {
	s, err := conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	if as == libp2p {
		if deadline, ok := ctx.Deadline(); ok {
			_ = s.SetDeadline(deadline)
			defer s.SetDeadline(time.Time{})
		}
		if err := multistream.SelectProtoOrFail(proto.ProtocolID, s); err != nil {
			return nil, fmt.Errorf("negotiate: %w", err)
		}
	}
	return s, nil
}

// ask asks something on a stream.
func ask(ctx context.Context, s *quic.Stream, m wire.Message) (wire.Message, error) {
	b, err := framing.AppendFrame(nil, m)
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	_ = s.SetDeadline(deadline)
	if _, err := s.Write(b); err != nil {
		return nil, fmt.Errorf("ask: %w", err)
	}
	f, err := framing.NewReader(s).Next()
	if err != nil {
		return nil, fmt.Errorf("reply: %w", err)
	}
	return f.Decode()
}

// isWhole reports whether an answer is what was asked for, and no error.
func isWhole(answer wire.Message) bool {
	switch m := answer.(type) {
	case *wire.Pong:
		return true
	case *wire.FindValueReply:
		return len(m.Values) > 0
	default:
		return false
	}
}

var probes atomic.Int64

// probe is an honest newcomer: from an address of its own it connects and asks a question.
// It returns how long that took.
func probe(ctx context.Context, to *target, as kind, question wire.Message) (time.Duration, error) {
	n := probes.Add(1)
	return probeFrom(ctx, fmt.Sprintf("127.200.%d.%d", n/250%250, 1+n%250), to, as, question)
}

// probeFrom is probe from an address, by a port of its own.
func probeFrom(ctx context.Context, ip string, to *target, as kind, question wire.Message) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s, err := newSource(ip)
	if err != nil {
		return 0, err
	}
	defer s.close()
	start := time.Now()
	conn, err := s.dial(ctx, to, as, nil)
	if err != nil {
		return 0, fmt.Errorf("%v: connect: %w", as, err)
	}
	defer conn.CloseWithError(0, "")
	stream, err := open(ctx, conn, as)
	if err != nil {
		return 0, fmt.Errorf("%v: %w", as, err)
	}
	switch answer, err := ask(ctx, stream, question); {
	case err != nil:
		return 0, fmt.Errorf("%v: %w", as, err)
	case !isWhole(answer):
		return 0, fmt.Errorf("%v: answered %+v", as, answer)
	}
	return time.Since(start), nil
}

// figures are what honest clients saw.
type figures struct {
	took   []time.Duration
	failed int
	last   error
}

// measure has honest clients come one after the other, of both kinds in turn, n of them.
func measure(t *testing.T, to *target, n int) figures {
	t.Helper()
	return measureAsking(t, to, n, &wire.Ping{})
}

// measureAsking is measure with another question.
func measureAsking(t *testing.T, to *target, n int, question wire.Message) figures {
	t.Helper()
	return measureBy(n, func(as kind) (time.Duration, error) { return probe(t.Context(), to, as, question) })
}

// measureBy is measure with other clients.
func measureBy(n int, probe func(as kind) (time.Duration, error)) (f figures) {
	for i := range n {
		took, err := probe(kind(i % 2))
		if err != nil {
			f.failed++
			f.last = err
			continue
		}
		f.took = append(f.took, took)
	}
	slices.Sort(f.took)
	return f
}

func (f figures) at(part float64) time.Duration {
	if len(f.took) == 0 {
		return 0
	}
	return f.took[min(int(part*float64(len(f.took))), len(f.took)-1)]
}

func (f figures) succeeded() float64 {
	return 100 * float64(len(f.took)) / float64(len(f.took)+f.failed)
}

func (f figures) String() string {
	s := fmt.Sprintf("%.1f %% of %d, median %v, p99 %v", f.succeeded(), len(f.took)+f.failed,
		f.at(0.5).Round(100*time.Microsecond), f.at(0.99).Round(100*time.Microsecond))
	if f.last != nil {
		s += fmt.Sprintf(" (last failure: %v)", f.last)
	}
	return s
}

// atOnce calls f for each of n, so many at a time.
func atOnce(n, workers int, f func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	wg.Wait()
}

// whenLong returns the first in the long form, else the second.
func whenLong[T any](inLong, inShort T) T {
	if *long {
		return inLong
	}
	return inShort
}

const (
	mib = 1 << 20
	// processMemory is what the program is kept to by default (docs/RELIABILITY.md), and
	// its own text.
	processMemory int64 = (416 + 64) * mib
)
