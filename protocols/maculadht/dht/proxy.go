package dht

import (
	"bytes"
	"errors"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/merge"
)

// Resolver finds what is stored elsewhere in the network, for peers of a proxied
// dialect. It is safe for concurrent use.
type Resolver interface {
	// Known returns what is known to be stored elsewhere under a key, and whether
	// that is recent, so that it need not be looked up. It returns at once. The
	// records must not be modified, and some may have expired.
	Known(key []byte, asker records.Asker) (elsewhere []records.Record, recent bool)
	// Resolve looks a key up. Unless done is nil it is called once with what was
	// found, which must not be modified, when the lookup has ended or has taken long
	// enough for who asks, be that before Resolve returns. It reports false, and does
	// not call done, where the asker's source, its IP group, or all together have too
	// much looked up. It does not keep key.
	Resolve(key []byte, asker records.Asker, done func(found []records.Record)) bool
}

// Adopter replicates what peers of a proxied dialect have stored.
type Adopter interface {
	// Adopt takes what was stored here. It returns at once, and keeps nothing of the
	// put's slices.
	Adopt(put records.Put)
}

// WithResolver has peers of a proxied dialect answered with what r finds elsewhere,
// too. Without it they are answered from what is stored here.
func WithResolver(r Resolver) Option {
	return func(c *config) error {
		if r == nil {
			return errors.New("resolver is nil")
		}
		c.resolver = r
		return nil
	}
}

// WithAdopter has what peers of a proxied dialect store given to a. Without it that
// is kept here, and no more.
func WithAdopter(a Adopter) Option {
	return func(c *config) error {
		if a == nil {
			return errors.New("adopter is nil")
		}
		c.adopter = a
		return nil
	}
}

// valueAsker returns who asks for a value.
func (a *asker) valueAsker() records.Asker {
	return records.Asker{Source: a.from.Source, Client: a.Connected()}
}

// resolveValue answers a FIND_VALUE with what is stored here and what is known to be
// stored elsewhere. Where there is either, that is the answer, at once; a lookup
// makes the next one whole. Else the answer waits for the lookup, as long as the
// resolver thinks fit.
func (h *Handlers) resolveValue(a *asker, key []byte, limit int) error {
	d := a.dialect
	here, _ := h.routes.Records().Values(a.Context(), key) // a store that can not be read has nothing
	elsewhere, recent := h.cfg.resolver.Known(key, a.valueAsker())
	if a.find.merged = merge.Append(a.find.merged[:0], here, elsewhere); len(a.find.merged) > 0 {
		here = a.find.merged
	}
	here = h.served(here, d)
	if !recent && len(here) == 0 {
		return h.deferValue(a, bytes.Clone(key), limit)
	}
	if !recent {
		h.cfg.resolver.Resolve(key, a.valueAsker(), nil)
	}
	answer := &a.find.answer
	h.listValues(answer, here, nil, key, a.audience(), limit, time.Now())
	err := a.Reply(answer)
	forget(answer)
	clear(a.find.merged)
	return err
}

// deferValue answers a FIND_VALUE when the resolver has found something, or given
// up. Where it has too much to do, or the stream waits for too many answers, that is
// at once.
func (h *Handlers) deferValue(a *asker, key []byte, limit int) error {
	to := a.audience()
	miss := new(wire.FindValueReply)
	slot, err := a.Defer(h.mux.Limits().SlotTime, miss)
	if err != nil {
		h.count.misses.Add(1)
		return a.Reply(miss)
	}
	waits := h.cfg.resolver.Resolve(key, a.valueAsker(), func(found []records.Record) {
		here, _ := h.routes.Records().Values(a.Context(), key) // it may have come meanwhile
		if merged := merge.Append(nil, here, found); len(merged) > 0 {
			here = merged
		}
		answer := new(wire.FindValueReply)
		h.listValues(answer, h.served(here, to.dialect), nil, key, to, limit, time.Now())
		_ = slot.Fill(answer) // where there is no room the miss is the answer; else the stream has ended
	})
	if !waits {
		h.count.misses.Add(1)
		return slot.Fill(miss)
	}
	return nil
}
