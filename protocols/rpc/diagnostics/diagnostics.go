// Package diagnostics serves the procedures by which an Erlang gateway tells of itself.
package diagnostics

import (
	"context"
	"runtime"
	"time"

	"github.com/macula-mesh/macula-node/protocols/rpc"
)

// The procedures by which a gateway tells of itself.
const (
	procedureHello = "com.macula.diagnostics.hello"
	procedureEcho  = "com.macula.diagnostics.echo"
	procedureInfo  = "com.macula.diagnostics.info"
)

// Gateway is what is told of a gateway.
type Gateway struct {
	Node    string // its name
	Realm   string
	Version string // of the program
}

// Serve has com.macula.diagnostics.hello, echo and info served, as an Erlang gateway has
// them: its name, g.Realm, uptime and version; what was given; what its process takes.
// They are not advertised: whoever calls them asks this node.
func Serve(c *rpc.Calls, g Gateway) error {
	started := time.Now()
	uptime := func() int64 { return int64(time.Since(started) / time.Second) }
	for name, h := range map[string]rpc.Handler{
		procedureHello: func(context.Context, *rpc.Request) (any, error) {
			return map[string]any{
				"message":        "This gateway is up",
				"gateway":        g.Node,
				"realm":          g.Realm,
				"uptime_seconds": uptime(),
				"timestamp":      time.Now().Unix(),
				"version":        g.Version,
				"protocol":       "QUIC",
			}, nil
		},
		procedureEcho: func(_ context.Context, r *rpc.Request) (any, error) {
			return map[string]any{"echo": r.Args, "timestamp": time.Now().Unix()}, nil
		},
		procedureInfo: func(context.Context, *rpc.Request) (any, error) {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return map[string]any{
				"gateway": map[string]any{"node": g.Node, "realm": g.Realm, "uptime_seconds": uptime(), "version": g.Version},
				"system": map[string]any{ // of Go, where an Erlang node tells of its own machine
					"otp_version":          runtime.Version(),
					"erts_version":         runtime.Version(),
					"process_count":        runtime.NumGoroutine(),
					"memory_bytes":         int64(m.Sys),
					"process_memory_bytes": int64(m.HeapInuse + m.StackInuse),
				},
				"timestamp": time.Now().Unix(),
			}, nil
		},
	} {
		if _, err := c.ServeHere(name, h); err != nil {
			return err
		}
	}
	return nil
}
