package glass

import (
	"context"
	"errors"
	"fmt"
	"time"
)

var errCut = errors.New("glass: cut meanwhile")

// over is called when a stream has ended, in whatever way.
func (s *Session) over(l *link) {
	s.mu.Lock()
	first := !l.over
	l.over = true
	s.mu.Unlock()
	select {
	case <-s.met:
	default:
		return // who was never answered is told so by its Bootstrap
	}
	if !first || s.ctx.Err() != nil {
		return
	}
	for range s.gateway.cfg.reconnects {
		s.reconnectIn(s.gateway.cfg.reconnectIn)
	}
}

func (s *Session) reconnectIn(after time.Duration) {
	g := s.gateway
	s.mu.Lock()
	era := s.era
	s.mu.Unlock()
	g.spawn(func() {
		if !pause(s.ctx, after) {
			return
		}
		s.mu.Lock()
		late, n := s.era != era, s.open()
		s.mu.Unlock()
		if late {
			return
		}
		if n >= maxReconnect {
			s.breakDown(n, era)
			return
		}
		ctx, cancel := context.WithTimeout(s.ctx, g.cfg.peerTimeout)
		defer cancel()
		if _, err := s.connect(ctx, era); err != nil && !errors.Is(err, errCut) {
			s.reconnectIn(g.cfg.reconnectIn)
		}
	})
}

// breakDown is what becomes of too many connections: all end, and it begins
// again with one.
func (s *Session) breakDown(n, era int) {
	if !s.cutAt(era) {
		return // of several that saw it one has
	}
	g := s.gateway
	g.mu.Lock()
	g.breaksBy(PeerCrash, CauseReconnects, fmt.Sprintf("%d connections to %s", n, s.endpoint))
	g.mu.Unlock()
	s.reconnectIn(g.cfg.reconnectIn)
}

// crash is the end of a client.
func (s *Session) crash(why Cause, detail string) {
	g := s.gateway
	g.mu.Lock()
	g.breaksBy(CallerCrash, why, detail)
	g.mu.Unlock()
	s.Close()
}
