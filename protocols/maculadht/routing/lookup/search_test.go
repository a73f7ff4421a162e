package lookup

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/routingtest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

func TestSearchTellsValuesAsTheyCome(t *testing.T) {
	play(t, 20, func(t *testing.T, s *script) {
		s.Know(s.Peers...)
		s.Other = after(routingtest.Delay, names())
		s.Replies[s.Peers[0].ID] = after(routingtest.Delay, has(value("first", 60)))
		s.Replies[s.Peers[1].ID] = after(3*routingtest.Delay, has(value("second", 60), value("third", 60)))
		start := time.Now()
		var came []time.Duration
		var told [][]string
		found, err := lookups(s).Search(t.Context(), Search{Key: s.Target[:], OnValues: func(v []FoundValue) {
			came = append(came, time.Since(start))
			told = append(told, providers(v))
		}})
		require.NoError(t, err)
		require.Equal(t, [][]string{{"first"}, {"second", "third"}}, told)
		require.Equal(t, []time.Duration{routingtest.Delay, 3 * routingtest.Delay}, came)
		require.ElementsMatch(t, []string{"first", "second", "third"}, providers(found.Values))
	})
}

func TestSearchOfPeersOnly(t *testing.T) {
	play(t, 3, func(t *testing.T, s *script) {
		s.Know(s.Peers...)
		s.Other = names()
		s.Replies[erlangs(s, 1)[0].ID] = has(value("at an Erlang node", 60))
		_, err := lookups(s).Search(t.Context(), Search{Key: s.Target[:], PeersOnly: true})
		require.ErrorIs(t, err, records.ErrNotFound)
		found, err := lookups(s).Search(t.Context(), Search{Key: s.Target[:]})
		require.NoError(t, err)
		require.Equal(t, []string{"at an Erlang node"}, providers(found.Values))
	})
}
