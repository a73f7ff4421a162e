package router

import (
	"sync"
	"time"

	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// clockSaidFor is for how long it is not said again that a clock may be wrong.
const clockSaidFor = time.Hour

// clockNote tells that connections fail because of a clock, once in a while.
type clockNote struct {
	mu   sync.Mutex
	said time.Time // by the monotonic clock: the other one may jump
}

// due reports whether an error is that of a certificate that is not valid at the time
// of this machine's clock, and has not been told of for a while.
func (c *clockNote) due(err error) bool {
	if !proto.IsClock(err) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.said.IsZero() && time.Since(c.said) < clockSaidFor {
		return false
	}
	c.said = time.Now()
	return true
}

// noteClock logs that connections to libp2p peers fail because of a clock, where that
// is why.
func (r *Router) noteClock(to routing.Contact, err error) {
	if !to.IsErlang() && r.clock.due(err) {
		r.cfg.Log.Error("libp2p connections fail: this machine's clock, or the peer's, is wrong by an hour or more",
			"clock", time.Now().Format(time.RFC3339), "err", err)
	}
}
