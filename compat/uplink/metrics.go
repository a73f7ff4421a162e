package uplink

import (
	"context"
	"errors"
	"time"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
)

// LookResult is what came of a look at a gateway.
type LookResult string

// The results.
const (
	LookOK         LookResult = "ok"          // it serves our realm
	LookUnlisted   LookResult = "unlisted"    // it does not list itself yet
	LookTwoRealms  LookResult = "two_realms"  // it lists itself with more than one realm
	LookOtherRealm LookResult = "other_realm" // it serves another one
	LookFailed     LookResult = "failed"      // it did not answer
)

// DownReason is why a session ended.
type DownReason string

// The reasons.
const (
	DownClosed       DownReason = "closed"       // by us
	DownDisconnected DownReason = "disconnected" // the gateway sent DISCONNECT
	DownNoReply      DownReason = "no_reply"     // it did not answer in time
	DownRestarted    DownReason = "restarted"    // it was started again
	DownUnlistable   DownReason = "unlistable"   // this node may be listed no more
	DownMoved        DownReason = "moved"        // its connection was made anew
	DownLost         DownReason = "lost"         // its stream or its connection broke
)

// MetricsTracer is told what Uplinks do; the gateways are those that an operator
// named. Its methods are called from many goroutines at once and must return at
// once.
type MetricsTracer interface {
	// Looked is called after each look at a gateway that was connected to.
	Looked(gateway endpoints.Endpoint, result LookResult)
	// SessionUp is called when a gateway has taken our CONNECT.
	SessionUp(gateway endpoints.Endpoint)
	// SessionDown is called at the end of each of these sessions.
	SessionDown(gateway endpoints.Endpoint, lasted time.Duration, reason DownReason)
}

// WithMetricsTracer sets who is told what the uplinks do; nobody without it.
func WithMetricsTracer(t MetricsTracer) Option {
	return func(c *config) error {
		if t == nil {
			return errors.New("no metrics tracer")
		}
		c.tracer = t
		return nil
	}
}

type noTracer struct{}

func (noTracer) Looked(endpoints.Endpoint, LookResult)                     {}
func (noTracer) SessionUp(endpoints.Endpoint)                              {}
func (noTracer) SessionDown(endpoints.Endpoint, time.Duration, DownReason) {}

func lookResultOf(err error) LookResult {
	switch {
	case err == nil:
		return LookOK
	case errors.Is(err, errUnlisted):
		return LookUnlisted
	case errors.Is(err, errTwoRealms):
		return LookTwoRealms
	case errors.Is(err, ErrOtherRealm):
		return LookOtherRealm
	}
	return LookFailed
}

// downReasonOf says why a session of uplinks with this context ended with err.
func downReasonOf(ctx context.Context, err error) DownReason {
	switch {
	case ctx.Err() != nil:
		return DownClosed
	case errors.Is(err, dialer.ErrDisconnected):
		return DownDisconnected
	case errors.Is(err, dialer.ErrNoReply):
		return DownNoReply
	case errors.Is(err, dialer.ErrRestarted):
		return DownRestarted
	case errors.Is(err, errListing):
		return DownUnlistable
	case errors.Is(err, dialer.ErrMoved):
		return DownMoved
	}
	return DownLost
}
