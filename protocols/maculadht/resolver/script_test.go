package resolver

import (
	"context"
	"fmt"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/routingtest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// The words of a script.
type script = routingtest.Script

var (
	play  = routingtest.Play
	names = routingtest.Names
	has   = routingtest.Has
	after = routingtest.After
	never = routingtest.Never
)

// provider returns the id of a provider that an Erlang node survives.
func provider(name string) []byte { return fmt.Appendf(nil, "%32s", name) }

// value returns its value.
func value(name string, ttl int) wire.Raw { return routingtest.Value(string(provider(name)), ttl) }

// questions returns how many FIND_VALUEs of a key the network was asked, of any key
// where it is nil. Where one contact is known that is how many lookups there were.
func questions(s *script, key []byte) (n int) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	for _, m := range s.Messages {
		if m, ok := m.(*wire.FindValue); ok && (key == nil || string(m.Key) == string(key)) {
			n++
		}
	}
	return n
}

// keep stores a value at the node itself.
func keep(s *script, key []byte, raw wire.Raw) {
	v, err := values.Parse(raw)
	require.NoError(s.T, err)
	require.NoError(s.T, s.Server.Records().Store(context.Background(), records.Put{Key: key, Value: v.Raw, NodeID: v.NodeID, TTL: v.TTL}))
}
