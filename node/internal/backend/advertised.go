package backend

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/macula-mesh/macula-node/node/api/schema"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// advertised is what the local API has advertised, by key, each value once. The zero value is
// nothing.
type advertised struct {
	mu  sync.Mutex
	own map[string][]*maculadht.Advertisement
}

// enter takes one that was made, where now is all that is advertised under its key: of what is
// over nothing is kept, and a value that is there already has no second one.
func (a *advertised) enter(ctx context.Context, key []byte, made *maculadht.Advertisement, now []maculadht.AdvertisementStatus) {
	a.mu.Lock()
	known := false
	kept := slices.DeleteFunc(a.own[string(key)], func(own *maculadht.Advertisement) bool {
		i := slices.IndexFunc(now, func(s maculadht.AdvertisementStatus) bool { return s.Is(own) })
		known = known || i >= 0 && now[i].Is(made)
		return i < 0
	})
	if !known {
		kept = append(kept, made)
	}
	if a.own == nil {
		a.own = make(map[string][]*maculadht.Advertisement)
	}
	a.own[string(key)] = kept
	a.mu.Unlock()
	if known {
		_ = made.WithdrawWhile(ctx) // which ends nothing, as the other goes on
	}
}

// take returns the one of a status, and has it no more; nil where the local API has none.
func (a *advertised) take(key []byte, of maculadht.AdvertisementStatus) (taken *maculadht.Advertisement) {
	a.mu.Lock()
	defer a.mu.Unlock()
	kept := slices.DeleteFunc(a.own[string(key)], func(own *maculadht.Advertisement) bool {
		if !of.Is(own) {
			return false
		}
		taken = own
		return true
	})
	if a.own[string(key)] = kept; len(kept) == 0 {
		delete(a.own, string(key))
	}
	return taken
}

// Withdraw implements api.Records. What a subscription or a procedure that is served is told by
// is theirs to end.
func (b *Backend) Withdraw(ctx context.Context, key []byte) (n int, err error) {
	others := 0
	for _, s := range b.under(key) {
		own := b.advertised.take(key, s)
		switch {
		case own != nil: // by which a procedure that advertises the same goes on
			err = errors.Join(err, own.WithdrawWhile(ctx))
		case s.Brief:
			others++
			continue
		default: // from before a restart, or of the program that the node is part of
			err = errors.Join(err, s.WithdrawWhile(ctx))
		}
		n++
	}
	if n == 0 && others > 0 {
		return 0, fmt.Errorf("%w: what is advertised under %x is a subscription's, or that of a procedure that is served: it ends with that", proto.ErrInvalidRequest, key)
	}
	if n > 0 {
		b.publish(schema.Event{Kind: schema.EventWithdrawn, Text: hex.EncodeToString(key)})
	}
	return n, err
}
