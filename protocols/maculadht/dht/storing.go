package dht

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/macula-mesh/macula-node/protocols/maculadht/dht/offer"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// storePatience is how long a stream waits for its values to be kept: less than an
// Erlang node waits for an answer behind them, of 5 s.
const storePatience = 2 * time.Second

// storing is what came on a stream to be stored, and is not settled yet: neither kept
// nor refused.
type storing struct {
	unsettled atomic.Int32
	ended     chan struct{} // has a token when one of them is settled

	impatient bool // the reader has waited for them in vain, and goes on until all are settled
}

// storeThen keeps a value, and tells then what came of it: before it returns, or later
// from another goroutine, which then must not hold up. It is for the goroutine that reads.
func (h *Handlers) storeThen(a *asker, put records.Put, then func(error)) {
	ctx, cancel := context.WithTimeout(a.Context(), storePatience)
	defer cancel()
	a.storing.unsettled.Add(1)
	h.routes.Records().StoreThen(ctx, put, func(err error) {
		if err != nil {
			h.count.dropped.Add(1)
		} else {
			h.stored(put)
		}
		then(err)
		a.storing.unsettled.Add(-1)
		select {
		case a.storing.ended <- struct{}{}:
		default:
		}
	})
}

// settle waits until all that came on the stream to be stored is settled, so that who
// asks next sees it. A store that hangs holds a stream up once, for storePatience.
// An error is the stream's end.
func (a *asker) settle() error {
	s := &a.storing
	if s.unsettled.Load() == 0 {
		s.impatient = false
		return nil
	}
	if s.impatient {
		return nil
	}
	a.Flush()
	patience := time.NewTimer(storePatience)
	defer patience.Stop()
	for s.unsettled.Load() > 0 {
		select {
		case <-s.ended:
		case <-patience.C:
			s.impatient = true
			return nil
		case <-a.Context().Done():
			return a.Context().Err()
		}
	}
	return nil
}

// acknowledgement answers a call that stores: as soon as it has a slot, and knows what
// came of the value.
type acknowledgement struct {
	mu      sync.Mutex
	settled bool
	err     error
	slot    *server.Slot
	callID  []byte
}

// settle says what came of the value.
func (k *acknowledgement) settle(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.settled, k.err = true, err
	k.answer()
}

// answerBy has the answer go to a slot.
func (k *acknowledgement) answerBy(slot *server.Slot, callID []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.slot, k.callID = slot, callID
	k.answer()
}

func (k *acknowledgement) answer() {
	if k.settled && k.slot != nil {
		_ = k.slot.Fill(offer.Reply(k.callID, k.err)) // else it is late, or has ended, or gets the answer for who is late
	}
}

// outcome returns what came of the value, offer.ErrUnsettled where that is not known.
func (k *acknowledgement) outcome() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.settled {
		return offer.ErrUnsettled
	}
	return k.err
}
