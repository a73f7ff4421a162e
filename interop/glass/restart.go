package glass

import (
	"fmt"
	"net"
	"time"
)

// Stall suspends its gateway process: for as long, whatever comes is kept, and
// answered afterwards. Connections are accepted meanwhile, as QUIC goes on. It
// returns at once, when nothing more is answered.
func (g *Gateway) Stall(d time.Duration) {
	if !g.turn.take(g.ctx) {
		return
	}
	if !g.spawn(func() { defer g.turn.give(); pause(g.ctx, d) }) {
		g.turn.give()
	}
}

// Restart is a kill -9 and a start half a second later ([RestartAfter]), with the
// same certificate and at the same port: nobody is told, and connections,
// records and subscriptions are forgotten, but not what it broke by and has
// counted. Then it registers itself after 3 s, as after any start. Its own
// sessions are forgotten as well; those by which it bootstrapped begin anew, the
// others end. It returns when it listens again.
func (g *Gateway) Restart() error {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return net.ErrClosed
	}
	old := g.line
	if g.register != nil {
		g.register.Stop()
	}
	sessions := g.sessions
	g.sessions = nil
	g.pool, g.mesh, g.kept = make(map[string]*pooled), make(map[string]*pooled), nil
	g.mu.Unlock()
	for _, s := range sessions {
		s.cut()
	}
	if err := old.close(); err != nil {
		return fmt.Errorf("glass: restart: %w", err)
	}
	if !pause(g.ctx, g.cfg.restartAfter) {
		return net.ErrClosed
	}
	l, err := g.listen(old.addr.String())
	if err != nil {
		return fmt.Errorf("glass: restart: %w", err)
	}
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		l.close()
		return net.ErrClosed
	}
	g.begin(l)
	g.stats.Restarts++
	g.mu.Unlock()
	for _, s := range sessions {
		if s.tends {
			g.enter(s)
			s.reconnectIn(0)
		} else {
			s.end()
		}
	}
	return nil
}
