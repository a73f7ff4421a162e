package dht

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/signed"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// provider seals records of its own.
type provider struct{ *signed.Signer }

func newProvider(t testing.TB) provider {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	require.NoError(t, err)
	s, err := signed.NewSigner(key, proto.DefaultRealm)
	require.NoError(t, err)
	return provider{s}
}

func (p provider) value(endpoint string) wire.Raw {
	id := p.NodeID()
	return dhttest.Value(string(id[:]), wire.Pair{Key: "endpoint", Value: wire.RawText(endpoint)})
}

func (p provider) seal(t testing.TB, key []byte, value wire.Raw, at time.Time) []byte {
	t.Helper()
	proof, err := p.Seal(key, value, at, at.Add(time.Hour))
	require.NoError(t, err)
	return proof.Envelope
}

// Over libp2p a proof is kept and told, by STORE and by _dht.store; what is forged is
// refused, and what is of another time is kept as if it had none.
func TestProofsAreKept(t *testing.T) {
	p, other := newProvider(t), newProvider(t)
	key, now := []byte("k"), time.Now()
	value := p.value("https://192.0.2.7:1")
	for name, test := range map[string]struct {
		value  wire.Raw
		proof  []byte
		code   string // of _dht.store
		proved bool
	}{
		"proved":                {value, p.seal(t, key, value, now), "", true},
		"no proof":              {value, nil, "", false},
		"an empty one":          {value, []byte{}, "", false},
		"ten minutes ahead":     {value, p.seal(t, key, value, now.Add(9*time.Minute)), "", true},
		"an hour ahead":         {value, p.seal(t, key, value, now.Add(time.Hour)), "", false},
		"ended long ago":        {value, p.seal(t, key, value, now.Add(-2*time.Hour)), "", false},
		"another's":             {value, other.seal(t, key, value, now), wire.CodeInvalidArgs, false},
		"of another value":      {value, p.seal(t, key, p.value("x"), now), wire.CodeInvalidArgs, false},
		"of another key":        {value, p.seal(t, []byte("l"), value, now), wire.CodeInvalidArgs, false},
		"a tombstone's":         {value, p.seal(t, key, nil, now), wire.CodeInvalidArgs, false},
		"rubbish":               {value, []byte("rubbish"), wire.CodeInvalidArgs, false},
		"too long":              {value, make([]byte, wire.MaxProof+1), wire.CodeInvalidArgs, false},
		"a forged tombstone":    {nil, p.seal(t, key, value, now), wire.CodeInvalidArgs, false},
		"an untimely tombstone": {nil, p.seal(t, key, nil, now.Add(time.Hour)), wire.CodeInvalidArgs, false},
		"neither":               {nil, nil, wire.CodeInvalidArgs, false},
	} {
		for _, called := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, called=%v", name, called), func(t *testing.T) {
				r := newRig(t)
				s := r.Serve(server.LibP2P())
				if called {
					args := procedures.StoreArgs{Key: key, Value: test.value, Proof: test.proof}
					reply := s.Ask(&wire.Call{Procedure: wire.ProcedureStore, Args: args.Raw(), CallID: []byte("id")}).(*wire.Reply)
					if test.code == "" {
						require.Nil(t, reply.Error)
					} else {
						require.NotNil(t, reply.Error)
						require.Equal(t, test.code, reply.Error.Code)
					}
				} else {
					s.Send(dhttest.Frames(t, &wire.Store{Key: key, Value: test.value, Proof: test.proof}))
				}
				found := s.Ask(&wire.FindValue{Key: key}).(*wire.FindValueReply)
				switch {
				case test.code != "":
					require.Empty(t, found.Values)
				case test.proved:
					require.Equal(t, []wire.Raw{value}, found.Values)
					require.Equal(t, [][]byte{test.proof}, found.Proofs)
				default:
					require.Equal(t, []wire.Raw{value}, found.Values)
					require.Empty(t, found.Proofs)
				}
				require.Empty(t, found.Tombstones)
				s.RequireEnd()
			})
		}
	}
}

// Who stores under a proved node id is told that it is its provider's, or that there is a
// newer one; a withdrawal is kept, told and not undone.
func TestProofsStand(t *testing.T) {
	r := newRig(t)
	s := r.Serve(server.LibP2P())
	p := newProvider(t)
	key, now := []byte("k"), time.Now()
	first, second, forged := p.value("https://192.0.2.7:1"), p.value("https://192.0.2.7:2"), p.value("https://198.51.100.9:666")
	put := func(value wire.Raw, proof []byte) string {
		t.Helper()
		args := procedures.StoreArgs{Key: key, Value: value, Proof: proof}
		reply := s.Ask(&wire.Call{Procedure: wire.ProcedureStore, Args: args.Raw(), CallID: []byte("id")}).(*wire.Reply)
		if reply.Error == nil {
			return ""
		}
		return reply.Error.Code
	}
	find := func() *wire.FindValueReply {
		return s.Ask(&wire.FindValue{Key: key}).(*wire.FindValueReply)
	}
	require.Equal(t, "", put(forged, nil), "nobody's yet")
	require.Equal(t, "", put(second, p.seal(t, key, second, now)))
	require.Equal(t, wire.CodeNotOwner, put(forged, nil))
	require.Equal(t, wire.CodeSuperseded, put(first, p.seal(t, key, first, now.Add(-time.Second))))
	require.Equal(t, []wire.Raw{second}, find().Values)

	tombstone := p.seal(t, key, nil, now.Add(time.Second))
	require.Equal(t, "", put(nil, tombstone))
	found := find()
	require.Empty(t, found.Values)
	require.Equal(t, [][]byte{tombstone}, found.Tombstones)
	require.Equal(t, wire.CodeSuperseded, put(second, p.seal(t, key, second, now)))
	require.Equal(t, wire.CodeNotOwner, put(forged, nil))
	require.Empty(t, find().Values)

	others := dhttest.Value("another")
	require.Equal(t, "", put(others, nil))
	found = find()
	require.Equal(t, []wire.Raw{others}, found.Values)
	require.Empty(t, found.Proofs)
	require.Equal(t, [][]byte{tombstone}, found.Tombstones, "beside a value, too")

	third := p.seal(t, key, first, now.Add(2*time.Second))
	require.Equal(t, "", put(first, third))
	found = find()
	require.Equal(t, []wire.Raw{first, others}, found.Values)
	require.Equal(t, [][]byte{third, {}}, found.Proofs, "an empty one where there is none")
	require.Empty(t, found.Tombstones)
	s.RequireEnd()
}

// Erlang nodes see nothing of it, and prove nothing.
func TestErlangNodesSeeNoProofs(t *testing.T) {
	r := newRig(t)
	p, gone := newProvider(t), newProvider(t)
	key, now := []byte("k"), time.Now()
	value := p.value("https://192.0.2.7:1")
	ask := func(key []byte) []byte {
		s := r.Serve(server.Erlang())
		frame := dhttest.Frames(t, s.Ask(&wire.FindValue{Key: key}))
		s.RequireEnd()
		return frame
	}
	r.handlers.HandleStore(t.Context(), &wire.Store{Key: []byte("plain"), Value: value}, Origin{}, server.LibP2P())
	plain := ask([]byte("plain"))

	r.handlers.HandleStore(t.Context(), &wire.Store{Key: key, Value: value, Proof: p.seal(t, key, value, now)}, Origin{}, server.LibP2P())
	r.handlers.HandleStore(t.Context(), &wire.Store{Key: key, Proof: gone.seal(t, key, nil, now)}, Origin{}, server.LibP2P())
	require.Equal(t, plain, ask(key), "byte for byte what it would be without")

	r.handlers.HandleStore(t.Context(), &wire.Store{Key: []byte("l"), Value: value, Proof: p.seal(t, []byte("l"), value, now)}, Origin{}, server.Erlang())
	found, err := r.handlers.routes.Records().Values(t.Context(), []byte("l"))
	require.NoError(t, err)
	require.Nil(t, found[0].Proof)
	stores := r.handlers.Stats().DroppedStores
	r.handlers.HandleStore(t.Context(), &wire.Store{Key: []byte("l"), Proof: p.seal(t, []byte("l"), nil, now)}, Origin{}, server.Erlang())
	require.Equal(t, stores+1, r.handlers.Stats().DroppedStores)
	require.False(t, bytes.Contains(plain, []byte("proof")))
}

// A reply that can not hold all has those that are proved, and says in its room who has
// withdrawn his.
func TestProvedAreToldFirst(t *testing.T) {
	r := newRig(t)
	key, now := []byte("k"), time.Now()
	big := wire.RawBytes(make([]byte, 1000))
	for i := range 400 {
		v := dhttest.Value(fmt.Sprint(i), wire.Pair{Key: "big", Value: big})
		r.handlers.HandleStore(t.Context(), &wire.Store{Key: key, Value: v}, Origin{}, server.LibP2P())
	}
	p := newProvider(t)
	id := p.NodeID()
	v := dhttest.Value(string(id[:]), wire.Pair{Key: "big", Value: big}, wire.Pair{Key: "ttl", Value: wire.RawInt(10)})
	r.handlers.HandleStore(t.Context(), &wire.Store{Key: key, Value: v, Proof: p.seal(t, key, v, now)}, Origin{}, server.LibP2P())
	for range wire.MaxTombstones + 3 {
		r.handlers.HandleStore(t.Context(), &wire.Store{Key: key, Proof: newProvider(t).seal(t, key, nil, now)}, Origin{}, server.LibP2P())
	}
	newest := newProvider(t).seal(t, key, nil, now)
	r.handlers.HandleStore(t.Context(), &wire.Store{Key: key, Proof: newest}, Origin{}, server.LibP2P())
	s := r.Serve(server.LibP2P())
	found := s.Ask(&wire.FindValue{Key: key}).(*wire.FindValueReply)
	require.Contains(t, found.Values, v)
	require.Less(t, len(found.Values), 401)
	require.Len(t, found.Tombstones, wire.MaxTombstones)
	require.Contains(t, found.Tombstones, newest)
	require.LessOrEqual(t, len(dhttest.Frames(t, found)), proto.MaxFindValueReply)
	s.RequireEnd()
}
