package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/internal/budget"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// pieces is a stream that brings its bytes in pieces and keeps what is written.
type pieces struct {
	in   []byte
	size int // of a piece
	out  bytes.Buffer
}

func (s *pieces) Read(b []byte) (int, error) {
	if len(s.in) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), s.size)], s.in)
	s.in = s.in[n:]
	return n, nil
}

func (s *pieces) Write(b []byte) (int, error)      { return s.out.Write(b) }
func (s *pieces) Close() error                     { return nil }
func (s *pieces) Reset(proto.ResetCode)            {}
func (s *pieces) SetReadDeadline(time.Time) error  { return nil }
func (s *pieces) SetWriteDeadline(time.Time) error { return nil }

// Whatever comes, in whatever pieces: serving ends, holds nothing any more, and what
// was written are whole messages, no more of them than there were questions.
func FuzzServe(f *testing.F) {
	seed := dhttest.Frames(f,
		&wire.Connect{NodeID: []byte("me"), RealmID: proto.DefaultRealm}, &wire.Ping{}, &wire.FindValue{Key: []byte("k")},
		&wire.Store{Key: []byte("k"), Value: dhttest.Value("me")}, &wire.FindValue{Key: []byte("k")}, &wire.FindNode{Target: []byte("t")},
		&wire.Call{Procedure: wire.ProcedureListGateways}, &wire.NATProbe{}, &wire.RPCRequest{Procedure: "p"}, &wire.Subscribe{Topics: []string{"a"}})
	f.Add(seed, 3, true)
	f.Add(seed[:len(seed)-3], 1000, false)
	f.Add(append(dhttest.Frame(wire.TypeFindValue, 0x90), seed...), 7, true)
	f.Add(append(dhttest.Frame(0xee, 0xc1), seed...), 1, false)
	contacts, err := routing.NewServer(routing.ID{})
	require.NoError(f, err)
	f.Cleanup(func() { contacts.Close() })
	h, err := New(contacts)
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, in []byte, size int, erlang bool) {
		account := h.Budget().Open(budget.SourceOfAddr(netip.MustParseAddr("192.0.2.1")))
		defer account.Close()
		s := &Session{Dialect: LibP2P(), Account: account}
		if erlang {
			s.Dialect = Erlang()
		}
		questions := 0
		for r := wire.NewReader(bytes.NewReader(in)); ; questions++ {
			if _, err := r.Next(); err != nil {
				break
			}
		}
		stream := &pieces{in: bytes.Clone(in), size: max(size, 1)}
		_ = h.Mux().Serve(context.Background(), stream, s) // how it ends is for other tests

		answers := 0
		for r := wire.NewReader(&stream.out); ; answers++ {
			frame, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err, "whole frames")
			_, err = frame.Decode()
			require.NoError(t, err)
		}
		require.LessOrEqual(t, answers, questions)
		held, _ := account.Usage()
		require.Zero(t, held.Memory)
		require.Zero(t, h.Clients().Len())
	})
}

// A hit costs the server no allocation once its buffers are there.
func TestServedHitDoesNotAllocate(t *testing.T) {
	contacts, err := routing.NewServer(routing.ID{})
	require.NoError(t, err)
	defer contacts.Close()
	h, err := New(contacts)
	require.NoError(t, err)
	h.HandleStore(t.Context(), &wire.Store{Key: []byte("k"), Value: dhttest.Value("me")}, Origin{}, LibP2P())
	serve := func(questions int) float64 {
		frame := dhttest.Frames(t, &wire.FindValue{Key: []byte("k")})
		in := bytes.Repeat(frame, questions)
		return testing.AllocsPerRun(10, func() {
			stream := &pieces{in: in, size: 4096}
			stream.out.Grow(questions * 200)
			if err := h.Mux().Serve(context.Background(), stream, &Session{Dialect: LibP2P()}); err != nil {
				t.Error(err)
			}
		})
	}
	const few, many = 1000, 21000
	perQuestion := (serve(many) - serve(few)) / (many - few)
	require.Less(t, perQuestion, 0.01, "allocations of a question")
}
