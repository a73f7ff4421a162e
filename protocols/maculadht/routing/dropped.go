package routing

// MaxDropped is how many contacts are kept in mind that were dropped. Of more, those
// that were dropped first go.
const MaxDropped = 1024

// dropped remembers the verified libp2p contacts that left the table as they did not
// answer: whoever of them speaks again has a way back.
type dropped struct {
	contacts map[ID]*Contact
	order    []ID // may name some that are not there any more
}

func (d *dropped) add(c *Contact) {
	if c.IsErlang() || !c.Verified {
		return
	}
	if d.contacts == nil {
		d.contacts = make(map[ID]*Contact)
	}
	d.contacts[c.ID] = c
	d.order = append(d.order, c.ID)
	for len(d.contacts) > MaxDropped || len(d.order) > 2*MaxDropped {
		delete(d.contacts, d.order[0])
		d.order = d.order[1:]
	}
}

// take forgets a contact and reports whether it was there.
func (d *dropped) take(id ID) bool {
	_, there := d.contacts[id]
	delete(d.contacts, id)
	return there
}

// Dropped returns the libp2p contact with this id as it was when it left the table,
// if it left as it did not answer; the last [MaxDropped] are kept in mind.
func (t *Table) Dropped(id ID) (Contact, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if c := t.dropped.contacts[id]; c != nil {
		return *c, true
	}
	return Contact{}, false
}

// AllDropped returns all contacts that [Table.Dropped] knows of.
func (t *Table) AllDropped() []Contact {
	t.mu.RLock()
	defer t.mu.RUnlock()
	all := make([]Contact, 0, len(t.dropped.contacts))
	for _, c := range t.dropped.contacts {
		all = append(all, *c)
	}
	return all
}
