package uplink

import (
	"errors"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
)

// State is how it stands with a gateway.
type State string

// The states.
const (
	StateConnecting State = "connecting"  // it is being dialled and looked at
	StateJoined     State = "joined"      // this node is registered with it
	StateUsed       State = "used"        // it is used, and not told of this node
	StatePeer       State = "peer"        // it is a macula-node, joined over libp2p
	StateWaiting    State = "waiting"     // it is tried again, see Next
	StateOtherRealm State = "other_realm" // it serves another realm; looked at again, see Next
	StateSelf       State = "self"        // it is this node itself, so nothing is tried again
)

// Status is how it stands with a gateway.
type Status struct {
	Gateway endpoints.Endpoint
	State   State
	Since   time.Time // when the state began
	Next    time.Time // of the next try; zero where none is waited for
	Err     error     // why the last try failed or the last session ended; nil with a session
	Peer    peer.ID   // with StatePeer
	// Proved is, with StateOtherRealm, whether the gateway's certificate proves that it is
	// it who says so: else an entry of anybody's may.
	Proved bool
}

// Status returns how it stands with each gateway, in the order in which they were
// named.
func (u *Uplinks) Status() []Status {
	all := make([]Status, len(u.all))
	for i, l := range u.all {
		l.mu.Lock()
		all[i] = l.status
		l.mu.Unlock()
	}
	return all
}

// turn notes the state of an uplink; next is 0 where no try is waited for.
func (u *uplink) turn(s State, next time.Duration, err error) {
	now := time.Now()
	status := Status{Gateway: u.endpoint, State: s, Since: now, Err: err}
	if next > 0 {
		status.Next = now.Add(next)
	}
	if s == StatePeer {
		status.Peer = u.peer
	}
	if wrong, is := errors.AsType[*realmError](err); is && s == StateOtherRealm {
		status.Proved = wrong.proved
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.status = status
}
