package uplink

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/dialer/pace"
	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// uplink is what is kept of one gateway that an operator named.
type uplink struct {
	*Uplinks

	endpoint  endpoints.Endpoint
	log       *slog.Logger
	refresh   chan struct{}        // has room for one: our endpoint may have changed
	tried     map[string]time.Time // endpoints of neighbours, and when they were last verified
	peer      peer.ID              // the macula-node behind the endpoint, or empty
	leavePeer func()               // has it joined no more; never nil

	mu     sync.Mutex
	status Status
	joined *joined // while there is a session
}

// joined is a gateway with a session.
type joined struct {
	contact routing.Contact
	conn    *dialer.Conn
}

// session returns the gateway while this node is registered there, or nil.
func (u *uplink) session() *joined {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.joined
}

func (u *uplink) setSession(j *joined) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.joined = j
}

// What an uplink has to do next, beside to try again.
var (
	errUnlisted  = errors.New("it does not list itself yet, so its realm is not known")
	errTwoRealms = errors.New("it lists itself with two realms, so which one it serves is not known")
	errOurself   = errors.New("it is this node itself")
	errListing   = errors.New("whether this node may be listed has changed")
)

// run keeps a session until the uplinks are closed.
func (u *uplink) run() {
	defer func() { u.leavePeer() }()
	p := u.newPauses()
	var last error
	for u.ctx.Err() == nil {
		u.turn(StateConnecting, 0, last)
		lasted, err := u.serve()
		if u.ctx.Err() != nil {
			return
		}
		last = err
		if lasted {
			p = u.newPauses()
		}
		var pause time.Duration
		state := StateWaiting
		switch {
		case errors.Is(err, errOurself):
			u.log.Info("the bootstrap gateway is this node itself")
			u.turn(StateSelf, 0, nil)
			return
		case errors.Is(err, errListing):
			continue
		case errors.Is(err, dialer.ErrRestarted) && lasted:
			u.log.Info("the gateway was started again: joining it anew")
			continue
		case errors.Is(err, errPeer):
			state, pause = StatePeer, p.peer.next()
			u.log.Debug("still a macula-node", "again_in", pause)
		case errors.Is(err, errUnlisted):
			pause = p.look.next()
			u.log.Info("gateway not joined yet", "again_in", pause, "err", err)
		case errors.Is(err, ErrOtherRealm):
			state, pause = StateOtherRealm, u.cfg.intervals.Rarely
			u.log.Error("gateway not joined", "again_in", pause, "err", err)
		default:
			pause = p.retry.next()
			pause = pause/2 + rand.N(pause/2+1) // so that many nodes do not come back at once
			if limit, ok := errors.AsType[*pace.LimitError](err); ok {
				pause = max(pause, time.Until(limit.Until))
			}
			level, msg := slog.LevelWarn, "gateway not reached"
			if lasted { // as they do, when the gateway is started again or the network changes
				level, msg = slog.LevelInfo, "the session with the gateway has ended"
			}
			u.log.Log(u.ctx, level, msg, "again_in", pause.Round(time.Millisecond), "err", err)
		}
		u.turn(state, pause, err)
		select {
		case <-time.After(pause):
		case <-u.ctx.Done():
		}
	}
}

// pauses grow while nothing comes of a gateway.
type pauses struct{ retry, look, peer growing }

func (u *uplink) newPauses() pauses {
	i := u.cfg.intervals
	return pauses{
		retry: growing{i.FirstRetry, i.LastRetry},
		look:  growing{i.LookAgain, max(i.LastRetry, i.LookAgain)}, // one that never lists itself is no reason to ask for ever
		peer:  growing{i.Rarely, 8 * i.Rarely},
	}
}

// growing is a pause that is doubled each time.
type growing struct{ pause, most time.Duration }

func (g *growing) next() time.Duration {
	now := g.pause
	g.pause = min(2*g.pause, g.most)
	return now
}

// serve is one connection's life: the look, the CONNECT, and signs of life until
// too many are missing. It reports whether there was any: a gateway that ends each
// session right after its PONG is not come back to at once.
func (u *uplink) serve() (lasted bool, err error) {
	c, err := u.dialer.Acquire(u.ctx, u.endpoint)
	if err != nil {
		return false, err
	}
	defer c.Release()
	contact := routing.Contact{Endpoint: u.endpoint.String(), ClientID: c.ClientID()}
	p, err := u.askPeer(contact, c)
	if err != nil {
		return false, err
	}
	if p != nil {
		c.End()
		return false, u.enter(*p)
	}
	u.leavePeer()
	if contact.ClientID != "" && contact.ClientID == u.cfg.self {
		return false, errOurself
	}
	own, neighbours, err := u.look(contact, c)
	u.cfg.tracer.Looked(u.endpoint, lookResultOf(err))
	if err != nil {
		return false, err
	}
	contact.NodeID, contact.ID = own.NodeID, routing.IDFromBytes(own.NodeID)
	contact.Verified, contact.LastSeen = true, time.Now()

	s := &stay{uplink: u, conn: c, contact: contact, own: own}
	s.ctx, s.end = context.WithCancelCause(u.ctx)
	defer s.end(nil)
	endpoint, whyNot := u.toTell(c)
	if endpoint == "" {
		u.log.Info("joined the gateway without telling it of this node", "by", "questions of an Erlang node", "why", whyNot)
		u.turn(StateUsed, 0, nil)
	} else {
		if err := s.register(endpoint); err != nil {
			return false, err
		}
		defer func() { s.session.Close() }() // and with it the connection
		defer u.setSession(nil)
		defer u.cfg.met(c.RemoteAddr().Addr())()
		up := time.Now()
		u.cfg.tracer.SessionUp(u.endpoint)
		defer func() {
			if u.ctx.Err() != nil {
				u.log.Info("left the gateway")
			}
			u.cfg.tracer.SessionDown(u.endpoint, time.Since(up), downReasonOf(u.ctx, err))
		}()
		u.log.Info("joined the gateway", "by", "a session of an Erlang node", "node_id", s.contact.ID, "realm", own.Realm, "as", endpoint)
		u.turn(StateJoined, 0, nil)
	}
	u.admit(s.contact)
	return s.run(neighbours)
}

// admit takes the gateway for a contact.
func (u *uplink) admit(contact routing.Contact) {
	if err := u.handlers.Routing().Admit(contact); err != nil {
		u.log.Debug("gateway not admitted", "err", err)
	}
}
