package conns

import (
	"context"
	"log/slog"
	"math"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	watchEvery = time.Second
	// reliefPart is which part of what the connections cost goes at a time.
	reliefPart = 8
)

// KeepWithin watches, until the context ends, over what can not be counted: what QUIC keeps
// of data that came in disorder, or that is not read yet. Where more than seven eighths of
// Go's memory limit (GOMEMLIMIT, debug.SetMemoryLimit) are in use, the heaviest give way, an
// eighth of all at a time. Without a limit it does nothing.
func (p *Pool) KeepWithin(ctx context.Context, log *slog.Logger) {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	read := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/cycles/total:gc-cycles"}}
	var seen uint64 // the collection after which somebody gave way last
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		limit := debug.SetMemoryLimit(-1)
		if limit == math.MaxInt64 {
			continue
		}
		metrics.Read(read)
		live, cycle := read[0].Value.Uint64(), read[1].Value.Uint64()
		if live < uint64(limit/8*7) || cycle == seen {
			continue
		}
		seen = cycle + 1 // what goes now is seen by the one after the next
		if n := p.relieve(); n > 0 {
			log.Warn("connections closed, as memory is short", "peers", n, "in_use", live, "limit", limit)
		}
	}
}

// relieve has the heaviest give way until an eighth of what connections cost is gone, and
// returns how many peers that are.
func (p *Pool) relieve() (peers int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for most := p.used.sum() - p.used.sum()/reliefPart; p.used.sum() > most; peers++ {
		h := p.heaviest()
		if h == nil {
			break
		}
		p.dismiss(h)
	}
	return peers
}
