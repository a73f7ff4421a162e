package dht

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/internal/budget"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/routingtest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/servertest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// asking is a peer in memory that asks in bursts, each once the one before is
// answered.
type asking struct {
	burst    []byte
	left     int // bursts
	at       int // how much of the burst is read
	want     int // bytes that answer a burst; 0 to wait for none
	got      int
	answered chan struct{}

	asked time.Time
	took  []time.Duration // from each burst to its answer
}

func (s *asking) Read(b []byte) (int, error) {
	if s.at == len(s.burst) {
		if s.want > 0 {
			<-s.answered
		}
		s.at = 0
		s.left--
	}
	if s.left == 0 {
		return 0, io.EOF
	}
	if s.at == 0 {
		s.asked = time.Now()
	}
	n := copy(b, s.burst[s.at:])
	s.at += n
	return n, nil
}

func (s *asking) Write(b []byte) (int, error) {
	if s.got += len(b); s.got == s.want {
		s.got = 0
		if s.took != nil {
			s.took = append(s.took, time.Since(s.asked))
		}
		s.answered <- struct{}{}
	}
	return len(b), nil
}

func (s *asking) Close() error                     { return nil }
func (s *asking) Reset(proto.ResetCode)            {}
func (s *asking) SetReadDeadline(time.Time) error  { return nil }
func (s *asking) SetWriteDeadline(time.Time) error { return nil }

// BenchmarkServe answers FIND_VALUE with one provider, with so many requests in
// flight, without a transport: what is left is the serving of a stream.
func BenchmarkServe(b *testing.B) {
	h := newHandlersOn(b, boundless(b))
	key := make([]byte, 44)
	value := dhttest.Value(string(make([]byte, 32)), wire.Pair{Key: "endpoint", Value: wire.RawText(string(make([]byte, 70)))})
	h.HandleStore(b.Context(), &wire.Store{Key: key, Value: value}, Origin{}, server.LibP2P())
	question := dhttest.Frames(b, &wire.FindValue{Key: key})
	answer := dhttest.Frames(b, h.HandleFindValue(b.Context(), &wire.FindValue{Key: key}, server.LibP2P(), proto.MaxFindValueReply))
	account := h.Mux().Budget().Open(budget.SourceOfAddr(netip.MustParseAddr("192.0.2.1")))
	defer account.Close()

	for _, inFlight := range []int{1, 32, 256} {
		for name, want := range map[string]int{"waiting": inFlight * len(answer), "flooding": 0} {
			b.Run(fmt.Sprintf("%s/%d", name, inFlight), func(b *testing.B) {
				stream := &asking{
					burst:    bytes.Repeat(question, inFlight),
					left:     (b.N + inFlight - 1) / inFlight,
					want:     want,
					answered: make(chan struct{}, 1),
				}
				b.ReportAllocs()
				if err := h.Mux().Serve(context.Background(), stream, &server.Session{Dialect: server.LibP2P(), Account: account}); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
			})
		}
	}
}

// BenchmarkLocalHit answers an Erlang node from what is stored here, with and without
// what finds more elsewhere: how long the one in the middle took, and one in a hundred.
func BenchmarkLocalHit(b *testing.B) {
	for name, resolving := range map[string]bool{"alone": false, "with a resolver": true} {
		b.Run(name, func(b *testing.B) {
			h := newHandlersOn(b, boundless(b))
			r := &rig{servertest.NewRig(b, h.Mux()), h}
			if resolving {
				r.resolving(routingtest.Silent{})
			}
			key := make([]byte, 44)
			r.handlers.HandleStore(b.Context(), &wire.Store{Key: key, Value: dhttest.Value(string(make([]byte, 32)))}, Origin{}, server.Erlang())
			question := dhttest.Frames(b, &wire.FindValue{Key: key})
			answer := dhttest.Frames(b, r.handlers.HandleFindValue(b.Context(), &wire.FindValue{Key: key}, server.Erlang(), proto.MaxFindValueReply))
			stream := &asking{
				burst: question, left: b.N, want: len(answer),
				answered: make(chan struct{}, 1), took: make([]time.Duration, 0, b.N),
			}
			b.ReportAllocs()
			if err := r.Mux.Serve(b.Context(), stream, &server.Session{Dialect: server.Erlang(), Account: r.Account}); err != nil {
				b.Fatal(err)
			}
			slices.Sort(stream.took)
			b.ReportMetric(float64(stream.took[len(stream.took)/2]), "p50-ns")
			b.ReportMetric(float64(stream.took[len(stream.took)*99/100]), "p99-ns")
		})
	}
}
