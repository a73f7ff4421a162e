package records

import "sync/atomic"

// Stats is what a manager holds, and what it has done since it began.
type Stats struct {
	// Gauges.
	Records int64 // stored, including those that expired since the last sweep
	Keys    int64 // with at least one record
	Bytes   int64 // values and keys, and RecordOverhead for each record

	OwnedRecords int64 // of Records, those that only their provider replaces
	OwnedBytes   int64 // of Bytes, what these cost

	// Counters.
	Stored        uint64 // records that were new
	Replaced      uint64 // records that took another's place
	NotOwner      uint64 // refused with ErrNotOwner
	OverBudget    uint64 // refused with ErrSourceBudget, ErrGroupBudget, ErrStoreFull or ErrFar
	KeyFull       uint64 // refused with ErrKeyFull
	Expired       uint64 // records dropped at the end of their life
	Evicted       uint64 // records dropped for another under their key, over its limits
	GaveWay       uint64 // records dropped for another, in a full store
	SweepFailures uint64 // times the store failed under the sweeper
}

type counters struct {
	stored, replaced, notOwner, overBudget, keyFull, expired, evicted, gaveWay, sweepFailures atomic.Uint64
}

// count enters what one update did, and tells the tracer.
func (m *Manager) count(key []byte, keys int64, done *edit, expired []Record, refused error) {
	switch {
	case refused != nil:
		switch refusal(refused) {
		case RefusedNotOwner:
			m.counters.notOwner.Add(1)
		case RefusedSourceBudget, RefusedGroupBudget, RefusedStoreFull, RefusedFar:
			m.counters.overBudget.Add(1)
		case RefusedKeyFull:
			m.counters.keyFull.Add(1)
		}
		m.tracer.Refused(refusal(refused))
	case done.replaced:
		m.counters.replaced.Add(1)
		m.tracer.Stored(true)
	case done.added != nil:
		m.counters.stored.Add(1)
		m.tracer.Stored(false)
	}
	switch done.evicted {
	case EvictedKey:
		m.counters.evicted.Add(1)
		m.tracer.Evicted(EvictedKey)
	case EvictedStore:
		m.counters.gaveWay.Add(1)
		m.tracer.Evicted(EvictedStore)
	}
	if len(expired) > 0 {
		m.counters.expired.Add(uint64(len(expired)))
		m.tracer.Expired(len(expired))
	}
	var records, bytes int64
	changed := func(r *Record, by int64) {
		cost := by * Cost(key, r)
		records, bytes = records+by, bytes+cost
		if r.Owned {
			m.owned.records.Add(by)
			m.owned.bytes.Add(cost)
		}
	}
	for _, gone := range [][]Record{expired, done.removed} {
		for i := range gone {
			changed(&gone[i], -1)
		}
	}
	if done.added != nil {
		changed(done.added, +1)
	}
	if records != 0 || bytes != 0 {
		m.tracer.Changed(keys, records, bytes)
	}
}

// sweepFailed enters that the store failed under the sweeper.
func (m *Manager) sweepFailed() {
	m.counters.sweepFailures.Add(1)
	m.tracer.SweepFailed()
}

// Stats returns the manager's gauges and counters. They are read one after the
// other, so those of a busy manager need not agree to the last record.
func (m *Manager) Stats() Stats {
	stored := m.ledger.Usage()
	c := &m.counters
	return Stats{
		Records: stored.Records, Keys: m.keys.Load(), Bytes: stored.Bytes,
		OwnedRecords: m.owned.records.Load(), OwnedBytes: m.owned.bytes.Load(),
		Stored: c.stored.Load(), Replaced: c.replaced.Load(), NotOwner: c.notOwner.Load(), OverBudget: c.overBudget.Load(), KeyFull: c.keyFull.Load(),
		Expired: c.expired.Load(), Evicted: c.evicted.Load(), GaveWay: c.gaveWay.Load(), SweepFailures: c.sweepFailures.Load(),
	}
}
