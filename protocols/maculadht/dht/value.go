package dht

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// findScratch is what a stream decodes FIND_VALUE into, and its answer.
type findScratch struct {
	question wire.FindValue
	answer   wire.FindValueReply
	merged   []records.Record
}

func (h *Handlers) serveFindValue(a *asker, f framing.Frame) error {
	question, answer := &a.find.question, &a.find.answer
	field, err := broken(question.Decode(f.Payload))
	switch {
	case err != nil:
		return err
	case field == nil:
		if err := a.settle(); err != nil {
			return err
		}
		d := a.dialect
		limit := proto.MaxFindValueReply
		if d.FirstPacket > 0 && !a.Connected() {
			limit = d.FirstPacket
		}
		if d.Proxied && h.cfg.resolver != nil {
			return h.resolveValue(a, question.Key, limit)
		}
		h.findValue(a.Context(), answer, question.Key, a.audience(), limit)
		err := a.Reply(answer)
		forget(answer)
		return err
	case errors.Is(field, wire.ErrMissingField):
		return a.Reply(&wire.FindValueReply{Reason: wire.ReasonMissingKey})
	default:
		return a.Reply(&wire.FindValueReply{Reason: wire.ReasonInvalidKey})
	}
}

// HandleFindValue looks the key up in local storage. The reply is limit bytes at
// most, as a frame, unless one value alone is longer.
func (h *Handlers) HandleFindValue(ctx context.Context, m *wire.FindValue, d server.Dialect, limit int) *wire.FindValueReply {
	reply := &wire.FindValueReply{}
	h.findValue(ctx, reply, m.Key, local(&d), limit)
	return reply
}

// findValue fills a reply, reusing its slices.
func (h *Handlers) findValue(ctx context.Context, reply *wire.FindValueReply, key []byte, to audience, limit int) {
	now := time.Now()
	found, withdrawn, err := h.routes.Records().Records(ctx, key, now)
	if err != nil || !to.dialect.GatewayKeys && wire.IsGatewayKey(key) {
		found, withdrawn = nil, nil // what gateways register is for those who came by the same door
	}
	h.listValues(reply, h.served(found, to.dialect), withdrawn, key, to, limit, now)
}

// listValues fills a reply with the records that were found, and with who has withdrawn
// his, reusing its slices.
func (h *Handlers) listValues(reply *wire.FindValueReply, found, withdrawn []records.Record, key []byte, to audience, limit int, now time.Time) {
	d := to.dialect
	*reply = wire.FindValueReply{Values: reply.Values[:0], ExpiresIn: reply.ExpiresIn[:0], Proofs: reply.Proofs[:0], Tombstones: reply.Tombstones[:0]}
	if d.Extended {
		limit -= proofsOverhead + addTombstones(reply, withdrawn)
	}
	if len(found) == 0 {
		h.count.misses.Add(1)
		if d.NodesOnMiss {
			reply.Nodes = h.nodes(key, to)
		}
		return
	}
	h.count.hits.Add(1)
	fitting, left := fit(found, d, limit, rand.Uint64)
	h.count.leftOut.Add(uint64(left))
	proved := false
	for i := range fitting {
		reply.Values = append(reply.Values, fitting[i].Value)
		if d.Extended {
			reply.ExpiresIn = append(reply.ExpiresIn, int64(fitting[i].Expires.Sub(now)/time.Second))
			reply.Proofs = append(reply.Proofs, fitting[i].Envelope())
			proved = proved || fitting[i].Proof != nil
		}
	}
	if !proved {
		reply.Proofs = reply.Proofs[:0]
	}
}

// addTombstones adds the newest of those that there are, as many as are read, and returns
// how much longer the reply is by that.
func addTombstones(reply *wire.FindValueReply, withdrawn []records.Record) (size int) {
	for _, r := range withdrawn[max(0, len(withdrawn)-wire.MaxTombstones):] {
		reply.Tombstones = append(reply.Tombstones, r.Envelope())
		size += len(r.Envelope()) + elementOverhead
	}
	return size
}

// elementOverhead is at most what an element of a list takes beside its content.
const elementOverhead = 5

// forget has a reply keep no record alive, as a stream may be quiet for long.
func forget(reply *wire.FindValueReply) {
	clear(reply.Values)
	clear(reply.Proofs)
	clear(reply.Tombstones)
}

// served returns the records that a dialect tells of, and counts those that it does
// not, as an Erlang node would not survive them. The list is copied only where there
// are some.
func (h *Handlers) served(recs []records.Record, d *server.Dialect) []records.Record {
	harmful := func(r records.Record) bool { return values.Harmless(r.Value) != nil }
	if !d.Harmless || !slices.ContainsFunc(recs, harmful) {
		return recs
	}
	left := slices.DeleteFunc(slices.Clone(recs), harmful)
	h.count.harmful.Add(uint64(len(recs) - len(left)))
	return left
}

// replyOverhead is more than a FIND_VALUE_REPLY is long without its values:
// header, keys, texts and list heads.
const replyOverhead = 80

// proofsOverhead is more than proofs and tombstones add to that.
const proofsOverhead = 32

// recordSize is how much a record adds to a reply.
func recordSize(r *records.Record, d *server.Dialect) int {
	if d.Extended {
		return len(r.Value) + elementOverhead + len(r.Envelope()) + elementOverhead // expires_in, proof
	}
	return len(r.Value)
}

// LookupValue returns the values stored here under a key, never an empty list:
// without any it returns ErrNotFound. The values must not be modified.
func (h *Handlers) LookupValue(ctx context.Context, key []byte) ([]wire.Raw, error) {
	found, err := h.routes.Records().Values(ctx, key)
	if err != nil {
		return nil, err
	}
	values := make([]wire.Raw, len(found))
	for i := range found {
		values[i] = found[i].Value
	}
	return values, nil
}
