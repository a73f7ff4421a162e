package backend

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/node/api/schema"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

func (b *Backend) records() *records.Manager { return b.Service.Routing().Records() }

// Keys implements api.Records. The cursor is the store's own, in hexadecimal.
func (b *Backend) Keys(ctx context.Context, prefix []byte, cursor string, max int) (page schema.Keys, err error) {
	page.Keys = []schema.Key{}
	from, err := hex.DecodeString(cursor)
	if err != nil {
		return page, fmt.Errorf("%w: %q", records.ErrCursor, cursor)
	}
	for { // a page of the store may be empty, and another follow
		keys, next, err := b.Store.Keys(ctx, prefix, records.Cursor(from), max-len(page.Keys))
		if err != nil {
			return page, err
		}
		for _, key := range keys {
			here, withdrawn, err := b.records().Records(ctx, key, time.Now())
			if err != nil {
				return page, err
			}
			if len(here)+len(withdrawn) == 0 {
				continue
			}
			k := schema.Key{Key: hex.EncodeToString(key), Records: len(here), Withdrawn: len(withdrawn)}
			for _, list := range [][]records.Record{here, withdrawn} {
				for _, r := range list {
					if r.Expires.After(k.Expires) {
						k.Expires = r.Expires.UTC()
					}
				}
			}
			page.Keys = append(page.Keys, k)
		}
		from = []byte(next)
		if page.Next = hex.EncodeToString(from); next == "" || len(page.Keys) >= max || ctx.Err() != nil {
			return page, ctx.Err()
		}
	}
}

// Stored implements api.Records.
func (b *Backend) Stored(ctx context.Context, key []byte) (schema.Stored, error) {
	now := time.Now()
	here, withdrawn, err := b.records().Records(ctx, key, now)
	if err != nil {
		return schema.Stored{}, err
	}
	server, target := b.Service.Routing(), routing.IDFromBytes(key)
	nearest := server.Nearest(target, routing.BucketSize)
	s := schema.Stored{Key: hex.EncodeToString(key), Records: recordsOf(here, now), Withdrawn: recordsOf(withdrawn, now),
		Changed: at(b.Store.changes.of(key)), Nearest: b.contacts(nearest)}
	s.Near = len(nearest) < routing.BucketSize || target.Closer(server.Self(), nearest[len(nearest)-1].ID)
	return s, nil
}

// recordsOf shows records, those first that are proved.
func recordsOf(all []records.Record, now time.Time) []schema.Record {
	out := []schema.Record{}
	for _, proved := range []bool{true, false} {
		for _, r := range all {
			if (r.Proof != nil) != proved {
				continue
			}
			s := schema.Record{Value: schema.Value{Raw: wire.Raw(r.Value)}, NodeID: nodeID(r.NodeID), Proved: proved, Owned: r.Owned,
				Source: r.Source.Name, Expires: r.Expires.UTC(), ExpiresIn: max(int64(r.Expires.Sub(now)/time.Second), 0)}
			if s.Source == "" {
				s.Source = "this node"
			}
			if proved {
				s.Sealed = time.UnixMilli(r.Proof.Sequence).UTC()
			}
			out = append(out, s)
		}
	}
	return out
}

// Put implements api.Records.
func (b *Backend) Put(ctx context.Context, key []byte, raw wire.Raw, replicate bool) (done schema.Put, err error) {
	value, err := values.Parse(bytes.Clone(raw))
	if err != nil {
		return done, err
	}
	if wire.IsGatewayKey(key) {
		return done, fmt.Errorf("%w: a key that begins with %s is written by who registers as a gateway", proto.ErrInvalidRequest, wire.GatewayPrefix)
	}
	done = schema.Put{Key: hex.EncodeToString(key), TTL: int64(value.TTL / time.Second), Acknowledged: 1}
	if !replicate {
		self := b.Service.Routing().Self()
		return done, b.records().Store(ctx, records.Put{Key: bytes.Clone(key), Value: value.Raw, NodeID: bytes.Clone(value.NodeID), TTL: value.TTL, From: self[:], Synced: true})
	}
	r, err := b.Service.Store(ctx, key, raw)
	if err != nil && !errors.Is(err, maculadht.ErrNoReplicas) || errors.Is(err, maculadht.ErrNotKept) {
		return done, err
	}
	done.Acknowledged, done.Sent, done.Failed = 1+len(r.Acknowledged), len(r.Sent), len(r.Failed)
	if r.Found != nil {
		t := tracing{target: routing.IDFromBytes(key)}
		for _, h := range r.Found.Hops {
			done.Lookup = append(done.Lookup, t.hop(h, 0))
		}
	}
	return done, nil
}

// Advertise implements api.Records.
func (b *Backend) Advertise(ctx context.Context, r schema.AdvertiseRequest) (done schema.Advertisement, err error) {
	key := maculadht.ServiceKey(r.Service)
	var made *maculadht.Advertisement
	if r.Service != "" {
		made, err = b.Service.AdvertiseService(ctx, maculadht.Offer{Name: r.Service, Endpoint: r.Endpoint, Metadata: r.Metadata.Raw, TTL: time.Duration(r.TTL) * time.Second})
	} else if key, err = hex.DecodeString(r.Key); err == nil {
		made, err = b.Service.Advertise(ctx, key, r.Value.Raw)
	}
	if err != nil && !errors.Is(err, maculadht.ErrNotSaved) { // it goes on all the same, and is saved later
		return done, err
	}
	b.publish(schema.Event{Kind: schema.EventAdvertised, Text: hex.EncodeToString(key)})
	under := b.under(key)
	for _, s := range under {
		if s.Is(made) {
			done = advertisement(s)
		}
	}
	b.advertised.enter(ctx, key, made, under)
	return done, nil
}

// under is what is advertised under a key.
func (b *Backend) under(key []byte) []maculadht.AdvertisementStatus {
	return slices.DeleteFunc(b.Service.Advertisements(), func(s maculadht.AdvertisementStatus) bool { return !bytes.Equal(s.Key, key) })
}

func advertisement(s maculadht.AdvertisementStatus) schema.Advertisement {
	a := schema.Advertisement{Key: hex.EncodeToString(s.Key), Value: schema.Value{Raw: s.Value}, Since: s.Since, Saved: s.Saved}
	if s.Offer != nil {
		a.Service = s.Offer.Name
	}
	if s.Last != nil {
		a.Published, a.Copies = true, len(s.Last.Acknowledged)
	}
	if s.Err != nil {
		a.Error = s.Err.Error()
	}
	return a
}

// Advertisements implements api.Records.
func (b *Backend) Advertisements() []schema.Advertisement {
	all := []schema.Advertisement{}
	for _, s := range b.Service.Advertisements() {
		all = append(all, advertisement(s))
	}
	return all
}
