package routing

// MetricsTracer is told what a [Server] does. Its methods are called by several
// goroutines at once, under a lock: they must return soon, and must not call this
// package.
type MetricsTracer interface {
	// TableSize is called with how many libp2p and how many Erlang contacts the table
	// holds, when that changes.
	TableSize(peers, erlang int)
}

type noTracer struct{}

func (noTracer) TableSize(int, int) {}
