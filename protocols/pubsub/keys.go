package pubsub

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/macula-mesh/macula-node/compat/wire"
)

// keyTopics begins the topics that are about keys.
const keyTopics = "$key."

// KeyTopic returns the topic under which a node tells those who have subscribed to it, at
// itself, that its records under a key have changed. What it tells has no content. No
// pattern fits it, nothing else is published under it, and no record says who has
// subscribed.
func KeyTopic(key []byte) string {
	sum := sha256.Sum256(key) // a key may be longer than a topic
	return keyTopics + hex.EncodeToString(sum[:])
}

func isKeyTopic(name string) bool { return strings.HasPrefix(name, keyTopics) }

// addToKey adds a subscriber of a key topic; t.mu is held.
func (t *Topics) addToKey(name string, s *subscriber) {
	t.keys[name] = append(t.keys[name], s)
	t.watched.Add(1)
}

// removeFromKey removes one, and reports whether there was one; t.mu is held.
func (t *Topics) removeFromKey(name string, s *subscriber) bool {
	i := slices.Index(t.keys[name], s)
	if i < 0 {
		return false
	}
	t.keys[name] = slices.Delete(t.keys[name], i, i+1)
	if len(t.keys[name]) == 0 {
		delete(t.keys, name)
	}
	t.watched.Add(-1)
	return true
}

// keyChanged is told by the store of records. It does not wait.
func (t *Topics) keyChanged(key []byte) {
	if t.watched.Load() == 0 {
		return
	}
	name := KeyTopic(key)
	t.mu.Lock()
	subscribers := slices.Clone(t.keys[name])
	t.mu.Unlock()
	if len(subscribers) == 0 {
		return
	}
	m, err := newMessage(name, wire.RawMap())
	if err != nil {
		return // it is the same each time, and fits
	}
	for _, s := range subscribers {
		if s.deliver(m) {
			t.count.delivered.Add(1)
		}
	}
}
