package backend

import (
	"context"
	"encoding/hex"
	"errors"
	"time"

	"github.com/macula-mesh/macula-node/node/api/schema"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

// Lookup implements api.Network.
func (b *Backend) Lookup(ctx context.Context, key []byte, asked func(schema.Asked), hop func(schema.Hop)) schema.Looked {
	t := tracing{target: routing.IDFromBytes(key), began: time.Now()}
	found, err := b.Service.Trace(ctx, key,
		func(a lookup.Asked) { asked(t.asked(a)) },
		func(h lookup.Hop) { hop(t.hop(h, time.Since(t.began))) })
	return b.looked(t, key, found, err)
}

// tracing tells of one lookup.
type tracing struct {
	target routing.ID
	began  time.Time
}

func peerOf(c routing.Contact) string {
	if c.Peer == "" {
		return ""
	}
	return c.Peer.String()
}

func (t tracing) asked(a lookup.Asked) schema.Asked {
	return schema.Asked{AtMS: ms(time.Since(t.began)), Hop: a.Round, Kind: kindOf(a.Contact), NodeID: a.Contact.ID.String(), PeerID: peerOf(a.Contact),
		Endpoint: a.Contact.Endpoint, Shared: t.target.CommonPrefixLen(a.Contact.ID), Again: a.Again}
}

func (t tracing) hop(h lookup.Hop, after time.Duration) schema.Hop {
	s := schema.Hop{AtMS: ms(after), Hop: h.Round, NodeID: h.Contact.ID.String(), PeerID: peerOf(h.Contact), Endpoint: h.Contact.Endpoint,
		Shared: t.target.CommonPrefixLen(h.Contact.ID), Again: h.Again, TookMS: ms(h.Took), Nodes: h.Nodes, Values: h.Values}
	if h.Err != nil {
		s.Error, s.Silent = h.Err.Error(), errors.Is(h.Err, proto.ErrUnreachable)
	}
	return s
}

func (b *Backend) looked(t tracing, key []byte, found *lookup.Found, err error) schema.Looked {
	l := schema.Looked{AtMS: ms(time.Since(t.began)), Key: hex.EncodeToString(key), Values: []schema.LookedValue{}, Holders: found.Holders,
		Asked: len(found.Hops) + found.Silent, Silent: found.Silent, Nearest: b.contacts(found.Closest)}
	for _, h := range found.Hops {
		switch {
		case h.Err == nil:
			l.Answered++
		case errors.Is(h.Err, proto.ErrUnreachable):
			l.Silent++
		}
	}
	for _, v := range found.Values {
		l.Values = append(l.Values, schema.LookedValue{Value: schema.Value{Raw: v.Raw}, Proved: v.Proof != nil, ExpiresIn: max(int64(time.Until(v.Expires)/time.Second), 0)})
	}
	switch {
	case err == nil && len(l.Values) > 0:
		l.Result = schema.LookupFound
	case err == nil || errors.Is(err, records.ErrNotFound):
		l.Result = schema.LookupNotFound
	case errors.Is(err, lookup.ErrNoPeers):
		l.Result = schema.LookupNoPeers
	case errors.Is(err, lookup.ErrUnanswered):
		l.Result = schema.LookupUnanswered
	default:
		l.Result = schema.LookupEnded
	}
	if err != nil {
		l.Error = err.Error()
	}
	return l
}
