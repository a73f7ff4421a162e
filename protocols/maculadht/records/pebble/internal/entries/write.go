package entries

import (
	"bytes"

	"github.com/cockroachdb/pebble/v2"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// Set writes the entry of one record, which ends at a time of the store's. buf is written
// to and returned, to be used again.
func Set(b *pebble.Batch, buf, key []byte, r *records.Record, ends int64) ([]byte, error) {
	buf = appendRecordKey(buf[:0], key, r.Place)
	n := len(buf)
	buf = appendRecord(buf, r, ends)
	return buf, b.Set(buf[:n], buf[n:], nil)
}

// Remove takes the entry away that has a place among those of a key. buf is as in Set.
func Remove(b *pebble.Batch, buf, key []byte, place uint32) ([]byte, error) {
	buf = appendRecordKey(buf[:0], key, place)
	return buf, b.Delete(buf, nil)
}

// RemoveAll takes all entries of a key away. buf is as in Set.
func RemoveAll(b *pebble.Batch, buf, key []byte) ([]byte, error) {
	buf = appendKey(buf[:0], key)
	return buf, b.DeleteRange(buf, after(buf), nil)
}

// after returns the first key that does not begin with prefix.
func after(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; ; i-- { // a prefix begins with a letter, so this ends
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
}

// SetState writes a value of the state, or takes its key away where it is not there.
func SetState(b *pebble.Batch, key, value []byte, there bool) error {
	entry := append([]byte{statePrefix}, key...)
	if !there {
		return b.Delete(entry, nil)
	}
	return b.Set(entry, value, nil)
}

// SetClock has the next opening go on from a reading.
func SetClock(b *pebble.Batch, r Reading) error { return b.Set(clockKey, r.append(nil), nil) }
