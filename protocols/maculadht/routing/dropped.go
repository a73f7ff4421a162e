package routing

import "slices"

// MaxDropped is how many contacts are kept in mind that were dropped. Of more, those
// that were dropped first go.
const MaxDropped = 1024

// pastContacts remembers verified libp2p contacts that have left the table: whoever of
// those speaks again that did not answer has a way back, and it shows whether one has
// lost what it stored.
type pastContacts struct {
	contacts map[ID]*Contact
	order    []ID // of those, who left first in front
}

func (p *pastContacts) add(c *Contact) {
	if c.IsErlang() || !c.Verified {
		return
	}
	if p.contacts == nil {
		p.contacts = make(map[ID]*Contact)
	}
	p.take(c.ID)
	if len(p.order) == MaxDropped {
		p.take(p.order[0])
	}
	p.contacts[c.ID] = c
	p.order = append(p.order, c.ID)
}

// take returns a contact, nil where it is not there, and forgets it.
func (p *pastContacts) take(id ID) *Contact {
	c := p.contacts[id]
	if c != nil {
		delete(p.contacts, id)
		i := slices.Index(p.order, id)
		p.order = slices.Delete(p.order, i, i+1)
	}
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
