package routing

import "slices"

// maxWaiting is how many contacts are kept in mind for a place in a full bucket.
// Of more, those that came first go: the last to speak is the likeliest to live.
const maxWaiting = 8

// waiting holds, by bucket, the verified contacts that found it full, the last
// to come first.
type waiting map[int][]*Contact

// put takes c in, in the stead of what it was before. Of one network that is
// limited no more are kept than a bucket takes, so that it has not all places.
func (w waiting) put(bucket int, c *Contact, perNetwork int) {
	w.drop(bucket, c.ID)
	if network, limited := c.network(); limited {
		w[bucket] = slices.DeleteFunc(w[bucket], func(o *Contact) bool {
			n, ok := o.network()
			if ok && n == network {
				perNetwork--
			}
			return ok && n == network && perNetwork < 1
		})
	}
	w[bucket] = slices.Insert(w[bucket], 0, c)
	if len(w[bucket]) > maxWaiting {
		w[bucket] = w[bucket][:maxWaiting]
	}
}

func (w waiting) drop(bucket int, id ID) {
	left := slices.DeleteFunc(w[bucket], func(c *Contact) bool { return c.ID == id })
	if len(left) == 0 {
		delete(w, bucket)
		return
	}
	w[bucket] = left
}

// take returns those that wait, the last to come first, and forgets them.
func (w waiting) take(bucket int) []*Contact {
	taken := w[bucket]
	delete(w, bucket)
	return taken
}

// restore puts back what is left of those that were taken.
func (w waiting) restore(bucket int, left []*Contact) {
	if len(left) > 0 {
		w[bucket] = left
	}
}

// news is what has happened to a table that asks for something to be done.
type news struct {
	wake   chan struct{} // has a token while there is some
	joined map[ID]struct{}
	full   map[int]struct{}
}

// maxNews is how many new contacts are noted. Of more nothing is known: who reads
// no news is not interested.
const maxNews = IDBits * BucketSize

// contactJoined notes that a verified contact is new.
func (n *news) contactJoined(id ID) {
	if len(n.joined) < maxNews {
		n.joined[id] = struct{}{}
	}
	n.tell()
}

// bucketFull notes that a bucket has turned somebody away.
func (n *news) bucketFull(bucket int) {
	n.full[bucket] = struct{}{}
	n.tell()
}

func (n *news) tell() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// takeNews returns which contacts are new and which buckets have turned somebody
// away since it was last called.
func (t *Table) takeNews() (joined []Contact, full []int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id := range t.news.joined {
		if c := t.buckets.get(id); c != nil {
			joined = append(joined, *c)
		}
	}
	for bucket := range t.news.full {
		full = append(full, bucket)
	}
	clear(t.news.joined)
	clear(t.news.full)
	return joined, full
}

// oldest returns the contact of a bucket that has been silent for the longest
// time, and those that wait for a place in it; nobody where the bucket has one.
func (t *Table) oldest(bucket int) (oldest Contact, waiting []Contact) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	list := t.buckets.lists[bucket]
	if len(list) < t.size {
		return Contact{}, nil
	}
	for _, c := range t.waiting[bucket] {
		waiting = append(waiting, *c)
	}
	return *list[0], waiting
}

// allWaiting returns every contact that waits for a place.
func (t *Table) allWaiting() []Contact {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var all []Contact
	for _, queue := range t.waiting {
		for _, c := range queue {
			all = append(all, *c)
		}
	}
	return all
}
