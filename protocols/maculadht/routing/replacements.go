package routing

import "slices"

// MaxReplacements is how many contacts a bucket's replacement cache holds. Of
// more, those that came first go: the last to speak is the likeliest to live.
const MaxReplacements = 8

// replacementCache holds, by bucket, the verified contacts that found it full, the
// last to come first.
type replacementCache map[int][]*Contact

// put takes c in, in the stead of what it was before. Of one IP group no more are kept
// than a bucket takes, so that it has not all places.
func (r replacementCache) put(bucket int, c *Contact, perGroup int) {
	r.drop(bucket, c.ID)
	if c.group.IsValid() {
		r[bucket] = slices.DeleteFunc(r[bucket], func(o *Contact) bool {
			if o.group == c.group {
				perGroup--
			}
			return o.group == c.group && perGroup < 1
		})
	}
	r[bucket] = slices.Insert(r[bucket], 0, c)
	if len(r[bucket]) > MaxReplacements {
		r[bucket] = r[bucket][:MaxReplacements]
	}
}

func (r replacementCache) drop(bucket int, id ID) {
	left := slices.DeleteFunc(r[bucket], func(c *Contact) bool { return c.ID == id })
	if len(left) == 0 {
		delete(r, bucket)
		return
	}
	r[bucket] = left
}

// take returns those that wait, the last to come first, and forgets them.
func (r replacementCache) take(bucket int) []*Contact {
	taken := r[bucket]
	delete(r, bucket)
	return taken
}

// restore puts back what is left of those that were taken.
func (r replacementCache) restore(bucket int, left []*Contact) {
	if len(left) > 0 {
		r[bucket] = left
	}
}

// LeastRecentlySeen returns the contact of a full bucket that has been silent for
// the longest time, and the bucket's replacement cache, the last to come first. Both
// are empty where the bucket has room.
func (t *Table) LeastRecentlySeen(bucket int) (oldest Contact, replacements []Contact) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	list := t.buckets.lists[bucket]
	if len(list) < t.size {
		return Contact{}, nil
	}
	for _, c := range t.replacements[bucket] {
		replacements = append(replacements, *c)
	}
	return *list[0], replacements
}

// Replacements returns the contacts of all replacement caches.
func (t *Table) Replacements() []Contact {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var all []Contact
	for _, queue := range t.replacements {
		for _, c := range queue {
			all = append(all, *c)
		}
	}
	return all
}
