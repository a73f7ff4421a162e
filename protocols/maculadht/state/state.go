// Package state says where a service keeps what is to outlive a restart of it, beside
// the records: its own advertisements, and the contacts through which it comes back.
package state

import (
	"context"
	"strings"
)

// State keeps small things over a restart. It is safe for concurrent use. Keys are of
// at most [MaxKey] bytes, values of at most [MaxValue].
type State interface {
	// Entries calls visit for each entry, until that returns false. What it is given is
	// its own for the call alone. The error says that there may be more entries than
	// it was called for; unreadable bytes in a value are no error.
	Entries(ctx context.Context, visit func(key, value []byte) bool) error
	// Put keeps a value under a key, in the place of the one before. It survives a power
	// cut when Put returns nil; after an error either may be there.
	Put(ctx context.Context, key, value []byte) error
	// Delete takes a key away, if it is there. It does not come back when Delete
	// returns nil.
	Delete(ctx context.Context, key []byte) error
}

// The sizes of entries, in bytes.
const (
	MaxKey   = 64
	MaxValue = 128 << 10
)

// Under returns the part of s that has a name: what it keeps is in s under keys that
// begin with the name and a slash, of which its own keys know nothing.
func Under(s State, name string) State { return under{s, name + "/"} }

type under struct {
	state  State
	prefix string
}

func (u under) key(key []byte) []byte { return append([]byte(u.prefix), key...) }

// Entries implements State.
func (u under) Entries(ctx context.Context, visit func(key, value []byte) bool) error {
	return u.state.Entries(ctx, func(key, value []byte) bool {
		if !strings.HasPrefix(string(key), u.prefix) {
			return true
		}
		return visit(key[len(u.prefix):], value)
	})
}

// Put implements State.
func (u under) Put(ctx context.Context, key, value []byte) error {
	return u.state.Put(ctx, u.key(key), value)
}

// Delete implements State.
func (u under) Delete(ctx context.Context, key []byte) error {
	return u.state.Delete(ctx, u.key(key))
}
