package page

import (
	"slices"

	"github.com/macula-mesh/macula-node/node/api/schema"
)

// kinds adds peers up by kind.
func kinds(peers []schema.Peer) []kind {
	all := []kind{
		{Name: schema.KindMacula, Title: "Macula", Means: "libp2p peers of this DHT"},
		{Name: schema.KindErlang, Title: "Erlang", Means: "Erlang nodes that have connected"},
		{Name: schema.KindLibp2p, Title: "libp2p", Means: "other libp2p peers"},
	}
	for i := range all {
		var took []float64
		for _, p := range peers {
			if p.Kind != all[i].Name {
				continue
			}
			all[i].Peers++
			if p.LatencyMS > 0 {
				took = append(took, p.LatencyMS)
			}
		}
		if len(took) > 0 {
			slices.Sort(took)
			all[i].LatencyMS = took[len(took)/2]
		}
	}
	return all
}
