package routing

// MaxDropped is how many contacts are kept in mind that were dropped. Of more, those
// that were dropped first go.
const MaxDropped = 1024

// pastContacts remembers verified libp2p contacts that have left the table: whoever of
// those speaks again that did not answer has a way back, and it shows whether one has
// lost what it stored.
type pastContacts struct {
	contacts map[ID]*Contact
	order    []ID // may name some that are not there any more
}

func (p *pastContacts) add(c *Contact) {
	if c.IsErlang() || !c.Verified {
		return
	}
	if p.contacts == nil {
		p.contacts = make(map[ID]*Contact)
	}
	p.contacts[c.ID] = c
	p.order = append(p.order, c.ID)
	for len(p.contacts) > MaxDropped || len(p.order) > 2*MaxDropped {
		delete(p.contacts, p.order[0])
		p.order = p.order[1:]
	}
}

// take returns a contact, nil where it is not there, and forgets it.
func (p *pastContacts) take(id ID) *Contact {
	c := p.contacts[id]
	delete(p.contacts, id)
	return c
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
