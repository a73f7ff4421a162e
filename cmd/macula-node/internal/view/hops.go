package view

import (
	"fmt"
	"io"
	"time"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/terminal"
	"github.com/macula-mesh/macula-node/node/api/schema"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

// Hop is an answer of a lookup, as JSON shows it.
type Hop struct {
	Round    int     `json:"hop"`
	PeerID   string  `json:"peer_id,omitempty"`
	NodeID   string  `json:"node_id"`
	Endpoint string  `json:"endpoint,omitempty"` // of an Erlang node
	TookMS   float64 `json:"took_ms"`
	Nodes    int     `json:"nodes"`
	Values   int     `json:"values"`
	Error    string  `json:"error,omitempty"`
}

// HopTold returns one that the node has told that runs here.
func HopTold(h schema.Hop) Hop {
	return Hop{Round: h.Hop, PeerID: h.PeerID, NodeID: h.NodeID, Endpoint: h.Endpoint, TookMS: h.TookMS, Nodes: h.Nodes, Values: h.Values, Error: h.Error}
}

// HopFound returns one of a lookup of this command's own.
func HopFound(h lookup.Hop) Hop {
	shown := Hop{
		Round:    h.Round,
		PeerID:   h.Contact.Peer.String(),
		NodeID:   h.Contact.ID.String(),
		Endpoint: h.Contact.Endpoint,
		TookMS:   float64(h.Took.Microseconds()) / 1000,
		Nodes:    h.Nodes,
		Values:   h.Values,
	}
	if h.Err != nil {
		shown.Error = h.Err.Error()
	}
	return shown
}

// HopsTold is HopTold of several.
func HopsTold(all []schema.Hop) []Hop { return hops(all, HopTold) }

// HopsFound is HopFound of several.
func HopsFound(all []lookup.Hop) []Hop { return hops(all, HopFound) }

func hops[T any](all []T, of func(T) Hop) []Hop {
	shown := make([]Hop, len(all))
	for i, h := range all {
		shown[i] = of(h)
	}
	return shown
}

// Print writes it in a line.
func (h Hop) Print(out io.Writer) {
	what := terminal.Plural(h.Nodes, "node")
	switch {
	case h.Error != "":
		what = h.Error
	case h.Values > 0:
		what = terminal.Plural(h.Values, "value")
	}
	who := h.PeerID
	if who == "" {
		who = h.Endpoint
	}
	took := time.Duration(h.TookMS * float64(time.Millisecond)).Round(10 * time.Microsecond)
	fmt.Fprintf(out, "hop %d  %s  %v  %s\n", h.Round, terminal.Legible(who), took, terminal.Legible(what))
}
