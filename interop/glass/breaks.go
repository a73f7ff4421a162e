package glass

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Kind is how a gateway broke.
type Kind string

// The ways of the reference to break.
const (
	// Hang: it answers nothing any more. Only a restart helps.
	Hang Kind = "hang"
	// Crash of its routing server: it lost all that it stored, and with its
	// gateway who CONNECTed; then it goes on.
	Crash Kind = "crash"
	// GatewayCrash: it forgot the streams of those who CONNECTed, what they
	// subscribed to, and its handlers. Its connections live on, and the records
	// and the routing table stay. Its clients are deaf until they connect anew.
	GatewayCrash Kind = "gateway crash"
	// CallerCrash: a client of it, of macula:connect, is gone with all of its
	// connections, and what it subscribed to and offers.
	CallerCrash Kind = "caller crash"
	// PeerCrash: what keeps a client's connections ended, at too many of them,
	// and begins again with one.
	PeerCrash Kind = "peer system crash"
	// Discovery: what finds other gateways crashes, at every poll.
	Discovery Kind = "discovery crash"
)

// Cause is what broke a gateway (docs/WIRE.md, what keeps it alive).
type Cause string

// What was done to the gateway as a server.
const (
	CauseStopSending   Cause = "STOP_SENDING before the reply"
	CauseOtherRealm    Cause = "CONNECT of another realm"
	CauseNoEndpoint    Cause = "CONNECT without endpoint"
	CauseTextKeys      Cause = "keys that are str"
	CauseMissingField  Cause = "a field is missing" // not recorded, see doc.go
	CauseNotMap        Cause = "a payload that is no map"
	CauseNoTarget      Cause = "FIND_NODE without target"
	CauseBootstrapNode Cause = "FIND_NODE that would return the bootstrap node"
	CauseStoreValue    Cause = "STORE of a value that is no map"
	CauseStoreArgs     Cause = "_dht.store with args that are no map"
	CauseSlowMiss      Cause = "a FIND_VALUE miss that took too long"
	CauseGatewayKey    Cause = "a gateway's key was written to it"
	CausePublishTopic  Cause = "PUBLISH whose topic is no bin"
	CauseTopics        Cause = "SUBSCRIBE whose topics are no list"
	CauseOKTuple       Cause = "RPC_ROUTE call of a handler that returns {ok, _}"
	CauseTopicNodeID   Cause = "a topic's record whose node_id is no bin of 32 bytes or more"
	CauseTopicEndpoint Cause = "a topic's record whose endpoint is no bin"
	CauseTooOften      Cause = "its gateway crashed too often"
)

// What it was answered as a client.
const (
	CauseReplyNodes      Cause = "FIND_VALUE_REPLY with nodes"
	CauseReplyValue      Cause = "FIND_VALUE_REPLY whose value is no list"
	CauseNamelessGateway Cause = "_dht.list_gateways with an entry without node_id"
	CauseUnanswered      Cause = "an RPC_ROUTE call without a REPLY"
	CauseServiceNodeID   Cause = "a service's record without node_id"
	CauseServiceKey      Cause = "a service's record with a key that is no text of at most 255 bytes"
	CauseNoProviders     Cause = "a FIND_VALUE_REPLY with an empty value" // read, not seen
	CauseReconnects      Cause = "reconnects doubled with each stream that ended"
)

// Break is one time that a gateway broke.
type Break struct {
	Kind   Kind
	Why    Cause
	Detail string // what it was, for people; may be empty
}

func (b Break) String() string {
	if b.Detail == "" {
		return fmt.Sprintf("%s: %s", b.Kind, b.Why)
	}
	return fmt.Sprintf("%s: %s (%s)", b.Kind, b.Why, b.Detail)
}

// Broken returns how often it broke, and why, in order.
func (g *Gateway) Broken() []Break {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.breaks)
}

// WaitBroken waits until it has broken and returns the first break.
func (g *Gateway) WaitBroken(ctx context.Context) (Break, error) {
	select {
	case <-g.broken:
		return g.Broken()[0], nil
	case <-ctx.Done():
		return Break{}, fmt.Errorf("glass: not broken: %w", context.Cause(ctx))
	}
}

// crash loses what the gateway holds; g.mu is held.
func (g *Gateway) crash(why Cause, detail string) {
	g.breaksBy(Crash, why, detail)
	g.forget()
	g.registerLater()
}

// crashGateway loses what the gateway process holds; g.mu is held.
func (g *Gateway) crashGateway(why Cause, detail string) {
	g.breaksBy(GatewayCrash, why, detail)
	g.forgetClients()
	now := time.Now()
	g.crashes = append(g.crashes, now)
	if n := g.cfg.crashLimit; n > 0 && len(g.crashes) >= n && now.Sub(g.crashes[len(g.crashes)-n]) < g.cfg.crashWithin {
		g.hang(CauseTooOften, fmt.Sprintf("%d times within %v", n, g.cfg.crashWithin))
	}
}

// crashGatewayNow is crashGateway for those who do not hold g.mu.
func (g *Gateway) crashGatewayNow(why Cause, detail string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.crashGateway(why, detail)
}

// hang ends all answering; g.mu is held.
func (g *Gateway) hang(why Cause, detail string) {
	g.breaksBy(Hang, why, detail)
	g.hung = true
}

// breaksBy writes a break down; g.mu is held.
func (g *Gateway) breaksBy(kind Kind, why Cause, detail string) {
	g.breaks = append(g.breaks, Break{kind, why, detail})
	if len(g.breaks) == 1 {
		close(g.broken)
	}
}
