package uplink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// uplink is what is kept of one gateway that an operator named.
type uplink struct {
	*Uplinks

	endpoint wire.Endpoint
	log      *slog.Logger
	looked   bool                 // it has told its realm once
	tried    map[string]time.Time // endpoints of neighbours, and when they were last verified

	mu         sync.Mutex
	registered *routing.Contact // the gateway, while there is a session
}

// session returns the gateway as a contact while this node is registered there.
func (u *uplink) session() (routing.Contact, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.registered == nil {
		return routing.Contact{}, false
	}
	return *u.registered, true
}

func (u *uplink) setSession(c *routing.Contact) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.registered = c
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
	retry, lookAgain := u.cfg.intervals.FirstRetry, u.cfg.intervals.LookAgain
	for u.ctx.Err() == nil {
		lasted, err := u.serve()
		if lasted {
			retry, lookAgain = u.cfg.intervals.FirstRetry, u.cfg.intervals.LookAgain
		}
		pause := retry/2 + rand.N(retry)                    // so that many nodes do not come back at once
		rest := time.Until(u.dialer.BackoffEnd(u.endpoint)) // before which nothing is tried
		pause = max(pause, rest)
		switch {
		case u.ctx.Err() != nil:
			return
		case errors.Is(err, errOurself):
			u.log.Info("the bootstrap gateway is this node itself")
			return
		case errors.Is(err, errUnlisted):
			pause = max(lookAgain, rest)
			lookAgain = min(2*lookAgain, max(u.cfg.intervals.LastRetry, u.cfg.intervals.LookAgain)) // one that never does is no reason to ask for ever
			u.log.Info("gateway not joined yet", "again_in", pause, "err", err)
		case errors.Is(err, ErrOtherRealm):
			retry, pause = u.cfg.intervals.LastRetry, max(u.cfg.intervals.LastRetry, rest)
			u.log.Error("gateway not joined", "again_in", pause, "err", err)
		case errors.Is(err, errListing):
			continue
		default:
			retry = min(2*retry, u.cfg.intervals.LastRetry)
			level, msg := slog.LevelWarn, "gateway not reached"
			if lasted { // as they do, when the gateway is started again or the network changes
				level, msg = slog.LevelInfo, "the session with the gateway has ended"
			}
			u.log.Log(u.ctx, level, msg, "again_in", pause.Round(time.Millisecond), "err", err)
		}
		select {
		case <-time.After(pause):
		case <-u.ctx.Done():
		}
	}
}

// serve is one connection's life: the look, the CONNECT, and signs of life until
// one is missing. It reports whether there was any: a gateway that ends each session
// right after its PONG is not come back to at once.
func (u *uplink) serve() (lasted bool, err error) {
	c, err := u.dialer.Acquire(u.ctx, u.endpoint)
	if err != nil {
		return false, err
	}
	defer c.Release()
	contact := routing.Contact{Endpoint: u.endpoint.String(), ClientID: c.ClientID()}
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

	var session *dialer.Session
	if why := u.unlistable(c); why != "" {
		u.log.Info("joined the gateway without telling it of this node", "why", why)
	} else {
		if session, err = u.register(c); err != nil {
			return false, err
		}
		defer session.Close()
		contact.NodeID, contact.ID = session.NodeID, routing.IDFromBytes(session.NodeID)
		u.setSession(&contact)
		defer u.setSession(nil)
		up := time.Now()
		u.cfg.tracer.SessionUp(u.endpoint)
		defer func() {
			if u.ctx.Err() != nil {
				u.log.Info("left the gateway")
			}
			u.cfg.tracer.SessionDown(u.endpoint, time.Since(up), downReasonOf(u.ctx, err))
		}()
		u.log.Info("joined the gateway", "node_id", contact.ID, "realm", own.Realm)
	}
	u.admit(contact)
	return u.stay(contact, own, neighbours, c, session)
}

// stay meets the gateway's neighbours and watches over it until the session ends.
func (u *uplink) stay(contact routing.Contact, own wire.Gateway, neighbours wire.GatewayList, c *dialer.Conn, session *dialer.Session) (lasted bool, err error) {
	ctx, cancel := context.WithCancel(u.ctx)
	lists := make(chan wire.GatewayList, 1)
	lists <- neighbours
	var meeting sync.WaitGroup
	meeting.Go(func() { // beside the signs of life: a neighbour that is silent takes its time
		for {
			select {
			case list := <-lists:
				u.meet(ctx, own, list, c)
			case <-ctx.Done():
				return
			}
		}
	})
	defer meeting.Wait()
	defer cancel()
	return u.watch(contact, c, session, lists)
}

// watch asks the gateway for signs of life, and for its neighbours, until the
// session ends.
func (u *uplink) watch(contact routing.Contact, c *dialer.Conn, session *dialer.Session, lists chan<- wire.GatewayList) (lasted bool, err error) {
	wasListed := session != nil
	var ended <-chan struct{} // never where this node is not listed
	if wasListed {
		ended = session.Done()
	}
	met := time.Now()
	ping := time.NewTicker(u.cfg.intervals.Ping)
	defer ping.Stop()
	for {
		select {
		case <-ping.C:
		case <-ended:
			return lasted, fmt.Errorf("%w: the session ended: %w", proto.ErrUnreachable, session.Err())
		case <-c.Context().Done():
			return lasted, fmt.Errorf("%w: %w", proto.ErrUnreachable, context.Cause(c.Context()))
		case <-u.ctx.Done():
			return lasted, u.ctx.Err()
		}
		if _, err := client.Ping(u.ctx, u.dialer, contact); err != nil {
			return lasted, err
		}
		lasted = true
		if !c.Current() {
			return lasted, dialer.ErrMoved // else the session would keep a second connection
		}
		contact.LastSeen = time.Now()
		u.admit(contact)
		if mayBe := u.unlistable(c) == ""; mayBe != wasListed {
			return lasted, errListing
		}
		if time.Since(met) < u.cfg.intervals.Neighbours {
			continue
		}
		met = time.Now()
		list, err := client.ListGateways(u.ctx, u.dialer, contact)
		if err != nil {
			return lasted, err
		}
		select {
		case lists <- list:
		default: // those of the last time are still being met
		}
	}
}

// admit takes the gateway for a contact.
func (u *uplink) admit(contact routing.Contact) {
	if err := u.handlers.Routing().Admit(contact); err != nil {
		u.log.Debug("gateway not admitted", "err", err)
	}
}
