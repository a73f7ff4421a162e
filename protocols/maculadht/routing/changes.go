package routing

// changes is what has happened to a table that asks for something to be done.
type changes struct {
	wake   chan struct{} // has a token while there are some
	joined map[ID]struct{}
	full   map[int]struct{}
}

// maxChanges is how many new contacts are noted. Of more nothing is known: who
// takes no changes is not interested.
const maxChanges = IDBits * BucketSize

// contactJoined notes that a verified contact is new.
func (c *changes) contactJoined(id ID) {
	if len(c.joined) < maxChanges {
		c.joined[id] = struct{}{}
	}
	c.tell()
}

// bucketFull notes that a bucket has turned somebody away.
func (c *changes) bucketFull(bucket int) {
	c.full[bucket] = struct{}{}
	c.tell()
}

func (c *changes) tell() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Changed has a token while there are changes that [Table.TakeChanges] has not
// returned. Both are for one reader, the upkeep.
func (t *Table) Changed() <-chan struct{} { return t.changes.wake }

// TakeChanges returns which verified contacts are new, and which full buckets have
// turned somebody away, since it was last called.
func (t *Table) TakeChanges() (joined []Contact, full []int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id := range t.changes.joined {
		if c := t.buckets.get(id); c != nil {
			joined = append(joined, *c)
		}
	}
	for bucket := range t.changes.full {
		full = append(full, bucket)
	}
	clear(t.changes.joined)
	clear(t.changes.full)
	return joined, full
}
