package view

import (
	ma "github.com/multiformats/go-multiaddr"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/node/api/schema"
)

// ValuesStored returns those that the node has that runs here.
func ValuesStored(all []schema.Record) Values {
	shown := Values{Values: []wire.Raw{}, Proved: []bool{}}
	for _, r := range all {
		shown.Values, shown.ExpiresIn, shown.Proved = append(shown.Values, r.Value.Raw), append(shown.ExpiresIn, r.ExpiresIn), append(shown.Proved, r.Proved)
	}
	return shown
}

// ValuesLooked returns those that it has found.
func ValuesLooked(all []schema.LookedValue) Values {
	shown := Values{Values: []wire.Raw{}, Proved: []bool{}}
	for _, v := range all {
		shown.Values, shown.ExpiresIn, shown.Proved = append(shown.Values, v.Value.Raw), append(shown.ExpiresIn, v.ExpiresIn), append(shown.Proved, v.Proved)
	}
	return shown
}

// NodesNear returns contacts as nodes.
func NodesNear(all []schema.Contact) []Node {
	views := make([]Node, len(all))
	for i, c := range all {
		views[i] = Node{NodeID: c.NodeID, PeerID: c.PeerID, Address: c.Endpoint}
		if c.LastSeen != nil {
			views[i].LastSeen = *c.LastSeen
		}
		for _, text := range c.Addrs {
			if a, err := ma.NewMultiaddr(text); err == nil {
				views[i].Addrs = append(views[i].Addrs, a)
			}
		}
	}
	return views
}
