package doctor

import (
	"errors"
	"fmt"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
)

// What an examination does unless an option says otherwise.
const (
	// DefaultPings is how many round trips are timed.
	DefaultPings = 50
	// DefaultRegistration is for how long a gateway's own entry is waited for:
	// it registers itself 3 s after its start.
	DefaultRegistration = 10 * time.Second
)

type config struct {
	realm        string // empty: any
	keys         []Key
	write        bool
	pings        int
	registration time.Duration
	observe      func(check string)
}

// Option sets a detail of an examination.
type Option func(*config) error

// WithRealm has the check of the realm fail where it is another one. Without it
// any will do.
func WithRealm(realm string) Option {
	return func(c *config) error {
		if realm == "" || len(realm) > wire.MaxField {
			return fmt.Errorf("realm of %d bytes: want 1 to %d", len(realm), wire.MaxField)
		}
		c.realm = realm
		return nil
	}
}

// WithKeys has the gateway asked for what it stores under keys. Give only keys
// that it is likely to have: a miss has it ask all that it knows.
func WithKeys(keys ...Key) Option {
	return func(c *config) error {
		for _, k := range keys {
			if len(k.Key) == 0 || len(k.Key) > wire.MaxField {
				return fmt.Errorf("key %q of %d bytes: want 1 to %d", k.Name, len(k.Key), wire.MaxField)
			}
		}
		c.keys = append(c.keys, keys...)
		return nil
	}
}

// WithWriting has two values stored under a key of its own, which is a random one,
// and read back, unless the realm is another than is expected. An Erlang node
// keeps them until it is restarted.
func WithWriting() Option {
	return func(c *config) error {
		c.write = true
		return nil
	}
}

// WithPings sets how many round trips are timed, at least 1.
func WithPings(n int) Option {
	return func(c *config) error {
		if n < 1 {
			return fmt.Errorf("%d PINGs: want 1 or more", n)
		}
		c.pings = n
		return nil
	}
}

// WithRegistration sets for how long the gateway's own entry is waited for; 0 is
// not at all.
func WithRegistration(d time.Duration) Option {
	return func(c *config) error {
		if d < 0 {
			return fmt.Errorf("registration within %v: want 0 or more", d)
		}
		c.registration = d
		return nil
	}
}

// WithObserver has f told of each check before it is made.
func WithObserver(f func(check string)) Option {
	return func(c *config) error {
		if f == nil {
			return errors.New("no observer")
		}
		c.observe = f
		return nil
	}
}
