package page

import (
	"net/http"
	"time"

	"github.com/macula-mesh/macula-node/node/api/door"
	"github.com/macula-mesh/macula-node/node/api/schema"
)

const (
	// maxPeers is how many peers are listed, and maxKeys how many keys on one page.
	maxPeers = 200
	maxKeys  = 20
)

// view is what the page shows.
type view struct {
	Now      time.Time
	LoggedIn bool // by a cookie

	Status         schema.Status
	Identity       schema.Identity
	Up             string
	Peers          []schema.Peer // that are listed
	Connected      int           // all of them
	Kinds          []kind
	More           int // peers that are not listed
	Clients        []schema.Client
	Uplinks        []schema.Uplink
	KeySpace       keySpace
	Keys           []schema.Key
	Cursor, Next   string // of this page of keys, and of the next
	KeysError      string
	Advertisements []schema.Advertisement
	Plots          []plot
	Counting       bool // there are samples
	Full           float64

	Lookup *looked // nil where the form asked for none
}

// kind is a kind of peers.
type kind struct {
	Name, Title, Means string
	Peers              int
	LatencyMS          float64 // of the middle one, of those whose is known
}

func (p *page) view(r *http.Request, cursor string) *view {
	now := time.Now()
	v := &view{Now: now, LoggedIn: door.LoggedIn(r), Status: p.node.Status(), Identity: p.node.Identity(), Peers: p.node.Peers(),
		Clients: p.node.Clients(), Uplinks: p.node.Uplinks(), Advertisements: p.node.Advertisements(), Cursor: cursor}
	v.Up = span(time.Duration(v.Status.Uptime) * time.Second)
	v.Kinds = kinds(v.Peers)
	if v.Connected = len(v.Peers); v.Connected > maxPeers {
		v.More = len(v.Peers) - maxPeers
		v.Peers = v.Peers[:maxPeers]
	}
	v.KeySpace = newKeySpace(p.node.Table())
	keys, err := p.node.Keys(r.Context(), nil, cursor, maxKeys)
	if v.Keys, v.Next = keys.Keys, keys.Next; err != nil {
		v.KeysError = err.Error()
	}
	h := p.node.History()
	v.Counting, v.Plots = len(h.Samples) > 0, plots(h, now)
	if limit := v.Status.Records.Limit; limit > 0 {
		v.Full = float64(v.Status.Records.Bytes) / float64(limit)
	}
	return v
}
