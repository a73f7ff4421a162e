package routing

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// traced counts what it is told, each thing under a name.
type traced struct {
	mu    sync.Mutex
	times map[string]int
	table int
}

func newTraced() *traced { return &traced{times: map[string]int{}} }

func (m *traced) count(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.times[name]++
}

func (m *traced) LookupDone(kind LookupKind, result Result, took time.Duration, hops int) {
	m.count(fmt.Sprintf("lookup of %s: %s in %v by %d", kind, result, took, hops))
}

func (m *traced) QueryDone(question wire.Type, result Result, took time.Duration) {
	m.count(fmt.Sprintf("%v: %s in %v", question, result, took))
}

func (m *traced) TableSize(contacts int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.table = contacts
}

func (m *traced) HandedOver(taken bool) { m.count(fmt.Sprint("handed over: ", taken)) }

func TestTracedLookups(t *testing.T) {
	tests := map[string]struct {
		reply  reply
		values bool
		want   map[string]int
	}{
		"nodes": {names(), false, map[string]int{
			"lookup of nodes: ok in 0s by 3": 1, "find_node: ok in 0s": 3}},
		"a value": {has(value("provider", 60)), true, map[string]int{
			"lookup of values: ok in 0s by 3": 1, "find_value: ok in 0s": 3}},
		"no value": {names(), true, map[string]int{
			"lookup of values: not_found in 0s by 3": 1, "find_value: ok in 0s": 3}},
		"nobody there": {says(nil, proto.ErrUnreachable), false, map[string]int{
			"lookup of nodes: ok in 0s by 3": 1, "find_node: unreachable in 0s": 3}},
		"busy": {says(nil, &proto.RemoteError{Code: wire.ReasonBusy}), false, map[string]int{
			"lookup of nodes: ok in 0s by 3": 1, "find_node: remote in 0s": 3}},
		"not our realm": {says(nil, &proto.RefusedError{}), false, map[string]int{
			"lookup of nodes: ok in 0s by 3": 1, "find_node: refused in 0s": 3}},
		"silence": {never, false, map[string]int{
			"lookup of nodes: ok in 5s by 3": 1, "find_node: timeout in 5s": 3}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := newTraced()
			play(t, 3, func(t *testing.T, s *script) {
				s.know(s.peers...)
				s.other = tt.reply
				find := s.lookups().Nodes
				if tt.values {
					find = s.lookups().Values
				}
				_, _ = find(t.Context(), s.target[:])
				require.Equal(t, tt.want, m.times)
			}, WithMetricsTracer(m))
		})
	}
}

func TestTracedUpkeep(t *testing.T) {
	m := newTraced()
	play(t, 3, func(t *testing.T, s *script) {
		s.know(s.peers...)
		require.Equal(t, 3, m.table)
		s.server.Forget(s.peers[0].ID)
		require.Equal(t, 2, m.table)
		for range MaxFailures {
			s.server.table.Failed(s.peers[1].ID)
		}
		require.Equal(t, 1, m.table)

		newcomer, _ := s.fill(10)
		good := after(0, names())
		s.replies[newcomer.ID] = everyNth(5, says(nil, &proto.RemoteError{Code: wire.CodeBusy}), good)
		defer s.upkeep().Close()
		s.know(newcomer)
		time.Sleep(settle)
		m.mu.Lock()
		defer m.mu.Unlock()
		require.Equal(t, 8+10, m.times["handed over: true"], "the newcomer's, and the one that was there")
		require.Equal(t, 2, m.times["handed over: false"])
	}, WithMetricsTracer(m))
}
