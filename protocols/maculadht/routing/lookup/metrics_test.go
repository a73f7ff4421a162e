package lookup

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
}

func (m *traced) count(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.times[name]++
}

func (m *traced) LookupDone(kind Kind, result Result, took time.Duration, asked, hops int) {
	m.count(fmt.Sprintf("lookup of %s: %s in %v by %d over %d", kind, result, took, asked, hops))
}

func (m *traced) ProofFailed() {}

func (m *traced) QueryDone(question wire.Type, result Result, took time.Duration) {
	m.count(fmt.Sprintf("%v: %s in %v", question, result, took))
}

func TestTracedLookups(t *testing.T) {
	tests := map[string]struct {
		reply  reply
		values bool
		want   map[string]int
	}{
		"nodes": {names(), false, map[string]int{
			"lookup of nodes: ok in 0s by 3 over 1": 1, "find_node: ok in 0s": 3}},
		"a value": {has(value("provider", 60)), true, map[string]int{
			"lookup of values: ok in 0s by 3 over 1": 1, "find_value: ok in 0s": 3}},
		"no value": {names(), true, map[string]int{
			"lookup of values: not_found in 0s by 3 over 1": 1, "find_value: ok in 0s": 3}},
		"nobody there": {says(nil, proto.ErrUnreachable), false, map[string]int{
			"lookup of nodes: unreachable in 0s by 3 over 1": 1, "find_node: unreachable in 0s": 3}},
		"busy": {says(nil, &proto.RemoteError{Code: wire.ReasonBusy}), false, map[string]int{
			"lookup of nodes: remote in 0s by 3 over 1": 1, "find_node: remote in 0s": 3}},
		"not our realm": {says(nil, &proto.RefusedError{}), false, map[string]int{
			"lookup of nodes: refused in 0s by 3 over 1": 1, "find_node: refused in 0s": 3}},
		"silence": {never, false, map[string]int{
			"lookup of nodes: timeout in 5s by 3 over 1": 1, "find_node: timeout in 5s": 3}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := &traced{times: map[string]int{}}
			play(t, 3, func(t *testing.T, s *script) {
				s.Know(s.Peers...)
				s.Other = tt.reply
				find := lookups(s, WithMetricsTracer(m)).Nodes
				if tt.values {
					find = lookups(s, WithMetricsTracer(m)).Values
				}
				_, _ = find(t.Context(), s.Target[:])
				require.Equal(t, tt.want, m.times)
			})
		})
	}
}
