package routing

// Changes is what has happened to a table that asks for something to be done.
type Changes struct {
	// Joined are verified contacts that are new.
	Joined []Contact
	// Returned are verified contacts that may lack records which they had, or
	// should have: they came back with another StoreID, were out of reach for
	// [AwayAfter], or had been dropped.
	Returned []Contact
	// Doubted are contacts of which [Table.Doubt] was told.
	Doubted []Contact
	// Full are the buckets that have turned somebody away.
	Full []int
}

// changes gathers them.
type changes struct {
	wake     chan struct{} // has a token while there are some
	joined   map[ID]struct{}
	returned map[ID]struct{}
	doubted  map[ID]struct{}
	full     map[int]struct{}
}

func newChanges() changes {
	return changes{
		wake:     make(chan struct{}, 1),
		joined:   make(map[ID]struct{}),
		returned: make(map[ID]struct{}),
		doubted:  make(map[ID]struct{}),
		full:     make(map[int]struct{}),
	}
}

// maxChanges is how many contacts of a kind are noted. Of more nothing is known: who
// takes no changes is not interested.
const maxChanges = IDBits * BucketSize

// note notes a contact in one of the sets.
func (c *changes) note(set map[ID]struct{}, id ID) {
	if len(set) < maxChanges {
		set[id] = struct{}{}
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

// TakeChanges returns what has changed since it was last called.
func (t *Table) TakeChanges() Changes {
	t.mu.Lock()
	defer t.mu.Unlock()
	taken := Changes{
		Joined:   t.take(t.changes.joined),
		Returned: t.take(t.changes.returned),
		Doubted:  t.take(t.changes.doubted),
	}
	for bucket := range t.changes.full {
		taken.Full = append(taken.Full, bucket)
	}
	clear(t.changes.full)
	return taken
}

// take empties a set and returns those of its contacts that are still there.
func (t *Table) take(set map[ID]struct{}) (contacts []Contact) {
	for id := range set {
		if c := t.buckets.get(id); c != nil {
			contacts = append(contacts, *c)
		}
	}
	clear(set)
	return contacts
}
