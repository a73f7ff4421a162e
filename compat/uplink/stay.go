package uplink

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

const (
	// mostMissed is how many PINGs in a row a gateway misses until its session is
	// ended. Erlang nodes that know each other stall for up to 25 s in daily life.
	mostMissed = 3
	// mostTold is how many CONNECTs there are on one connection. The streams of
	// earlier ones stay, as a node may be hurt by their end.
	mostTold = 8
)

// stay is the time with a gateway, over one connection.
type stay struct {
	*uplink
	conn    *dialer.Conn
	contact routing.Contact
	own     procedures.Gateway // its own entry

	ctx context.Context // ends with the connection, the session and the uplinks; its cause is why
	end context.CancelCauseFunc

	told     string // the endpoint that the gateway was told; empty where none
	connects int

	mu      sync.Mutex
	session *dialer.Session // the newest; nil where the gateway was told nothing
}

// register tells the gateway of this node, in the place of what it was told before.
func (s *stay) register(endpoint string) error {
	session, err := s.uplink.register(s.conn, endpoint)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.session = session
	s.mu.Unlock()
	s.told = endpoint
	s.connects++
	s.contact.NodeID, s.contact.ID = session.NodeID, routing.IDFromBytes(session.NodeID)
	s.setSession(&joined{s.contact, s.conn})
	s.tasks.Go(func() {
		select {
		case <-session.Done():
		case <-s.ctx.Done():
			return
		}
		s.mu.Lock()
		newest := s.session == session
		s.mu.Unlock()
		if newest {
			s.end(fmt.Errorf("%w: the session ended: %w", proto.ErrUnreachable, session.Err()))
		}
	})
	return nil
}

// run meets the gateway's neighbours and watches over it until the stay ends.
func (s *stay) run(neighbours procedures.GatewayList) (lasted bool, err error) {
	defer context.AfterFunc(s.conn.Context(), func() { s.end(s.conn.Err()) })()
	ctx, cancel := context.WithCancel(s.ctx)
	lists := make(chan procedures.GatewayList, 1)
	lists <- neighbours
	var meeting sync.WaitGroup
	meeting.Go(func() { // beside the signs of life: a neighbour that is silent takes its time
		for {
			select {
			case list := <-lists:
				s.meet(ctx, s.own, list, s.conn)
			case <-ctx.Done():
				return
			}
		}
	})
	defer meeting.Wait()
	defer cancel()
	return s.watch(lists)
}

// watch asks the gateway for signs of life, and for its neighbours, until the stay
// ends.
func (s *stay) watch(lists chan<- procedures.GatewayList) (lasted bool, err error) {
	met, missed := time.Now(), 0
	ping := time.NewTimer(s.cfg.intervals.Ping)
	defer ping.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return lasted, context.Cause(s.ctx)
		case <-s.refresh:
			if err := s.retell(); err != nil {
				return lasted, err
			}
			continue
		case <-ping.C:
		}
		switch err := s.conn.Ping(s.ctx); {
		case s.ctx.Err() != nil:
			return lasted, context.Cause(s.ctx)
		case errors.Is(err, dialer.ErrNoReply) && missed+1 < mostMissed:
			missed++
			s.log.Debug("the gateway has not answered a PING", "missed", missed)
			ping.Reset(0)
			continue
		case err != nil:
			return lasted, err
		}
		lasted, missed = true, 0
		ping.Reset(s.cfg.intervals.Ping)
		s.contact.LastSeen = time.Now()
		s.admit(s.contact)
		if err := s.retell(); err != nil {
			return lasted, err
		}
		if time.Since(met) < s.cfg.intervals.Neighbours {
			continue
		}
		met = time.Now()
		list, err := client.ListGateways(s.ctx, s.conn, s.contact)
		if err != nil {
			s.log.Debug("the gateway has not named its neighbours", "err", err)
			continue
		}
		select {
		case lists <- list:
		default: // those of the last time are still being met
		}
	}
}

// retell has the gateway know our endpoint as it is now. One that has become
// another is told by one more CONNECT on the same connection.
func (s *stay) retell() error {
	if err := s.conn.Err(); err != nil {
		return err // else the session would keep a second connection
	}
	now, _ := s.toTell(s.conn)
	switch {
	case now == s.told:
		return nil
	case now == "" || s.told == "" || s.connects == mostTold:
		return errListing
	}
	was := s.told
	if err := s.register(now); err != nil {
		return err
	}
	s.log.Info("told the gateway of this node's new endpoint", "was", was, "as", now)
	return nil
}
