package publication

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/provider"
)

// ErrNotSaved: the state did not take what was to be in it, or out of it; with it is
// why. Of an advertisement it means that it might not go on after a restart; of one that
// was withdrawn, that it might. What was to be in it is tried again whenever the record
// is renewed.
var ErrNotSaved = errors.New("not saved for after a restart")

// maxSaved is how many advertisements are saved, and go on after a restart.
const maxSaved = 1 << 16

// entry is an advertisement as it is in the state, under the name of its subject: a map
// in the dialect.
type entry struct {
	Key   []byte `macula:"key"`
	Value []byte `macula:"value,omitempty"` // nothing for an offer
	Offer *offer `macula:"offer,omitempty"`
	Since int64  `macula:"since"` // seconds since 1970
}

// offer is a provider.Offer as it is there.
type offer struct {
	Name     string        `macula:"name"`
	Endpoint string        `macula:"endpoint"`
	Metadata []byte        `macula:"metadata"`
	TTL      time.Duration `macula:"ttl"`
}

// stateKey returns the key of what has a name.
func (n subjectName) stateKey() []byte {
	named := binary.AppendUvarint(nil, uint64(len(n.key)))
	named = append(named, n.key...)
	sum := sha256.Sum256(append(named, n.provider...))
	return sum[:]
}

// encode returns a publication as it is in the state.
func (pub *publication) encode() ([]byte, error) {
	e := entry{Key: pub.key, Since: pub.since.Unix()}
	if o := pub.offer; o != nil {
		e.Offer = &offer{Name: o.Name, Endpoint: o.Endpoint, Metadata: o.Metadata, TTL: o.TTL}
	} else {
		e.Value = pub.base.Raw
	}
	return wire.Marshal(e)
}

// decode returns what was saved under a key of the state.
func (p *Publisher) decode(key, value []byte) (s subject, since time.Time, err error) {
	var e entry
	if err := wire.Unmarshal(bytes.Clone(value), &e); err != nil {
		return s, since, err
	}
	if o := e.Offer; o != nil {
		var checked provider.Offer
		checked, err = provider.Offer{Name: o.Name, Endpoint: o.Endpoint, Metadata: o.Metadata, TTL: o.TTL}.Check()
		if err == nil {
			s, err = p.subjectOfOffer(checked)
		}
	} else {
		s, err = subjectOfValue(e.Key, e.Value)
	}
	if err == nil && !bytes.Equal(s.name().stateKey(), key) {
		err = errors.New("it is that of another node, or was damaged")
	}
	return s, wire.TimeOfSeconds(e.Since), err
}

// lockSaved keeps others from a publication's entry in the state, and returns its key.
func (p *Publisher) lockSaved(ctx context.Context, pub *publication) (key []byte, unlock func(), err error) {
	key = pub.name().stateKey()
	if unlock, err = p.writing.lock(ctx, key); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrNotSaved, err)
	}
	return key, unlock, nil
}

// save keeps a publication in the state, unless it is there, over, or brief.
func (p *Publisher) save(ctx context.Context, pub *publication) error {
	if p.cfg.State == nil {
		return nil
	}
	key, unlock, err := p.lockSaved(ctx, pub)
	if err != nil {
		return err
	}
	defer unlock()
	p.mu.Lock()
	done, most := pub.saved || pub.over || pub.brief, p.saved >= p.maxSaved
	pub.written = pub.written || !done && !most
	p.mu.Unlock()
	if done {
		return nil
	}
	if most {
		return fmt.Errorf("%w: %d advertisements are", ErrNotSaved, p.maxSaved)
	}
	value, err := pub.encode()
	if err == nil {
		err = p.cfg.State.Put(ctx, key, value)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotSaved, err)
	}
	p.mu.Lock()
	pub.saved = true
	p.saved++
	p.mu.Unlock()
	return nil
}

// forget takes a publication that is over out of the state, unless another one has its
// name by now, which is there in its place, or will be.
func (p *Publisher) forget(ctx context.Context, pub *publication) error {
	if p.cfg.State == nil {
		return nil
	}
	key, unlock, err := p.lockSaved(ctx, pub)
	if err != nil {
		return err
	}
	defer unlock()
	p.mu.Lock()
	if p.publications[pub.name()] != nil {
		pub.written = false
		p.noteGone(pub)
	}
	there := pub.written
	p.mu.Unlock()
	if !there {
		return nil
	}
	if err := p.cfg.State.Delete(ctx, key); err != nil {
		return fmt.Errorf("%w: %w", ErrNotSaved, err)
	}
	p.mu.Lock()
	pub.written = false
	p.noteGone(pub)
	p.mu.Unlock()
	return nil
}

// noteGone notes that a publication is not in the state any more; p.mu is held.
func (p *Publisher) noteGone(pub *publication) {
	if pub.saved {
		pub.saved = false
		p.saved--
	}
}

// restore has all go on that is in the state, those first that were advertised first.
// What can not be read stays there.
func (p *Publisher) restore(ctx context.Context) error {
	type found struct {
		subject
		since time.Time
	}
	var all []found
	left := 0
	err := p.cfg.State.Entries(ctx, func(key, value []byte) bool {
		if len(all) == p.maxSaved {
			left++
			return true
		}
		s, since, err := p.decode(key, value)
		if err != nil {
			p.cfg.Log.Error("an advertisement of before the restart can not be read, and is left as it is",
				"entry", fmt.Sprintf("%x", key), "err", err)
			return true
		}
		all = append(all, found{s, since})
		return true
	})
	if err != nil {
		return fmt.Errorf("read the advertisements of before the restart: %w", err)
	}
	if left > 0 {
		p.cfg.Log.Error("not all advertisements of before the restart go on", "go_on", len(all), "left", left)
	}
	slices.SortStableFunc(all, func(a, b found) int { return a.since.Compare(b.since) })
	for _, f := range all {
		p.resume(f.subject, f.since, true)
	}
	if len(all) > 0 {
		p.cfg.Log.Info("advertisements go on from before the restart", "advertisements", len(all))
	}
	return nil
}

// resume has a subject published that nobody in the program has advertised yet: kept
// here at once, elsewhere once somebody is known.
func (p *Publisher) resume(s subject, since time.Time, saved bool) {
	p.mu.Lock()
	if p.closed || p.publications[s.name()] != nil {
		p.mu.Unlock()
		return
	}
	pub := p.enter(s, since)
	pub.resumed, pub.written, pub.saved = true, true, saved
	if saved {
		p.saved++
	}
	p.mu.Unlock()
	close(pub.started)
	p.publish(pub, schedule{pause: firstRepublish}, true)
}
