package schema

import "time"

// Kinds of events.
const (
	EventPeerCame      = "peer_came"      // a libp2p peer is connected
	EventPeerLeft      = "peer_left"      // it is not any more
	EventContactCame   = "contact_came"   // a node is in the table
	EventContactLeft   = "contact_left"   // it is not any more
	EventSessionUp     = "session_up"     // a node has CONNECTed on a stream that stays
	EventSessionDown   = "session_down"   // it is gone
	EventUplink        = "uplink"         // the state of a session with a gateway is another
	EventMode          = "mode"           // the mode towards libp2p peers is another
	EventAddresses     = "addresses"      // the addresses that peers are told are others
	EventRefused       = "refused"        // connections or requests were refused since the last
	EventRecords       = "records"        // records were stored, refused, or dropped since the last
	EventTopics        = "topics"         // messages were published, delivered, or dropped since the last
	EventCalls         = "calls"          // calls were made since the last
	EventBan           = "ban"            // somebody is kept away
	EventUnban         = "unban"          // or is let in again
	EventAdvertised    = "advertised"     // a value is advertised
	EventWithdrawn     = "withdrawn"      // or is not any more
	EventBootstrap     = "bootstrap"      // the state of an address to begin at is another
	EventProblem       = "problem"        // the node is not well
	EventProblemSolved = "problem_solved" // it is well again, as to that
)

// Event is something that has happened. What has no name in Counts is in the other fields.
type Event struct {
	Time   time.Time         `json:"time"`
	Kind   string            `json:"kind"`
	NodeID string            `json:"node_id,omitempty"`
	PeerID string            `json:"peer_id,omitempty"`
	Addr   string            `json:"addr,omitempty"`
	State  string            `json:"state,omitempty"`
	Text   string            `json:"text,omitempty" doc:"in words"`
	Counts map[string]uint64 `json:"counts,omitempty" doc:"how many of what, since the last of its kind"`
	// Dropped is how many events before this one its reader was too slow for.
	Dropped uint64 `json:"dropped,omitempty" doc:"how many events before it the reader was too slow for"`
}
