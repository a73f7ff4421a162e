package publication

import (
	"log/slog"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/provider"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
	"github.com/macula-mesh/macula-node/protocols/maculadht/state/statetest"
)

// FuzzSaved: whatever was saved of an advertisement, it is refused or one of this node's
// own, and the same when it is saved again.
func FuzzSaved(f *testing.F) {
	value := wire.RawMap(wire.Pair{Key: "node_id", Value: wire.RawText("n")}, wire.Pair{Key: "ttl", Value: wire.RawInt(60)})
	for _, e := range []entry{
		{Key: []byte("key"), Value: value, Since: 1},
		{Offer: &offer{Name: "greeter", Endpoint: "https://192.0.2.1:9443", Metadata: []byte(`{"a":1}`), TTL: provider.DefaultTTL}, Since: 2},
		{Key: []byte("key"), Value: value, Since: math.MaxInt64},
		{},
	} {
		saved, err := wire.Marshal(e)
		require.NoError(f, err)
		f.Add([]byte(saved))
		f.Add([]byte(saved)[:len(saved)-2])
	}
	n := &oneHolder{}
	srv, err := routing.NewServer(routing.IDFromBytes([]byte("self")))
	require.NoError(f, err)
	f.Cleanup(func() { require.NoError(f, srv.Close()) })
	lookups, err := lookup.New(srv, n)
	require.NoError(f, err)
	p, err := New(Config{Routing: srv, Lookups: lookups, Network: n, Published: func(int, error) {}, Log: slog.New(slog.DiscardHandler),
		State: new(statetest.Memory), Node: somewhere{}, Peer: peerOfTests})
	require.NoError(f, err)
	f.Cleanup(p.Close)
	f.Fuzz(func(t *testing.T, saved []byte) {
		_, _, err := p.decode([]byte("a key that nothing has"), saved)
		require.Error(t, err)
		var e entry
		if wire.Unmarshal(saved, &e) != nil {
			return
		}
		// The name that it has is not to be guessed: it is what decode would make of it.
		var s subject
		if o := e.Offer; o != nil {
			checked, err := provider.Offer{Name: o.Name, Endpoint: o.Endpoint, Metadata: o.Metadata, TTL: o.TTL}.Check()
			if err != nil {
				return
			}
			if s, err = p.subjectOfOffer(checked); err != nil {
				return
			}
		} else if s, err = subjectOfValue(e.Key, e.Value); err != nil {
			return
		}
		got, since, err := p.decode(s.name().stateKey(), saved)
		require.NoError(t, err)
		require.Equal(t, s.name(), got.name())
		_, err = since.MarshalText()
		require.NoError(t, err, "it is shown")
		pub := &publication{subject: got, since: since}
		again, err := pub.encode()
		require.NoError(t, err)
		later, _, err := p.decode(s.name().stateKey(), again)
		require.NoError(t, err)
		require.Equal(t, got.name(), later.name())
	})
}
