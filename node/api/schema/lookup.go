package schema

// Asked is a question of a lookup: the first of its trace.
type Asked struct {
	AtMS     float64 `json:"at_ms" doc:"since the lookup began"`
	Hop      int     `json:"hop" doc:"1 for a contact of the node's own, one more than who named it for others"`
	Kind     string  `json:"kind" enum:"macula,erlang"`
	NodeID   string  `json:"node_id"`
	PeerID   string  `json:"peer_id,omitempty"`
	Endpoint string  `json:"endpoint,omitempty"`
	Shared   int     `json:"shared" doc:"leading bits that its id shares with the key"`
	Again    bool    `json:"again,omitempty" doc:"it has a value, and is asked for nodes too"`
}

// Hop is what came of a question.
type Hop struct {
	AtMS     float64 `json:"at_ms" doc:"since the lookup began"`
	Hop      int     `json:"hop"`
	NodeID   string  `json:"node_id"`
	PeerID   string  `json:"peer_id,omitempty"`
	Endpoint string  `json:"endpoint,omitempty"`
	Shared   int     `json:"shared" doc:"leading bits that its id shares with the key"`
	Again    bool    `json:"again,omitempty"`
	TookMS   float64 `json:"took_ms" doc:"of all that it was asked"`
	Nodes    int     `json:"nodes" doc:"how many it named"`
	Values   int     `json:"values" doc:"how many it had"`
	Error    string  `json:"error,omitempty" doc:"why its answer does not count"`
	Silent   bool    `json:"silent,omitempty" doc:"it did not answer"`
}

// What a lookup can come to.
const (
	LookupFound      = "found"
	LookupNotFound   = "not_found"  // somebody answered, and nobody has it
	LookupNoPeers    = "no_peers"   // nobody is known who could be asked
	LookupUnanswered = "unanswered" // nobody answered
	LookupEnded      = "ended"      // it took too long
)

// Looked is what a lookup came to: the last of its trace.
type Looked struct {
	AtMS     float64       `json:"at_ms" doc:"since the lookup began"`
	Key      string        `json:"key"`
	Result   string        `json:"result" enum:"found,not_found,no_peers,unanswered,ended"`
	Error    string        `json:"error,omitempty"`
	Values   []LookedValue `json:"values"`
	Holders  int           `json:"holders" doc:"how many nodes had a value, this one included"`
	Asked    int           `json:"asked"`
	Answered int           `json:"answered"`
	Silent   int           `json:"silent" doc:"that did not answer, or were not waited for"`
	Nearest  []Contact     `json:"nearest" doc:"the nodes nearest to the key that answered: they should have it"`
}

// LookedValue is a value that was found, those first that are proved.
type LookedValue struct {
	Value     Value `json:"value"`
	Proved    bool  `json:"proved" doc:"to be of the node_id in it"`
	ExpiresIn int64 `json:"expires_in" doc:"seconds"`
}
