package page

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/node/api/schema"
)

// What the text of the form can be.
const (
	asKey     = "key"
	asService = "service"
	asTopic   = "topic"
)

// keyOf reads a key as the commands do: 64 hexadecimal digits, 0x and the digits of any bytes,
// or a text as it is; of a service or a topic it is the SHA-256 of the name.
func keyOf(text, as string) (key []byte, err error) {
	switch {
	case text == "":
		return nil, errors.New("write a key, or the name of a service or a topic")
	case as == asService || as == asTopic:
		sum := sha256.Sum256([]byte(text))
		return sum[:], nil
	case as != asKey && as != "":
		return nil, fmt.Errorf("as is %q: write key, service or topic", legible(as, maxText))
	}
	key = []byte(text)
	if digits, given := strings.CutPrefix(text, "0x"); given {
		if key, err = hex.DecodeString(digits); err != nil || len(key) == 0 {
			return nil, fmt.Errorf("key %q: behind 0x want pairs of hexadecimal digits", legible(text, maxText))
		}
	} else if sum, err := hex.DecodeString(text); err == nil && len(sum) == sha256.Size {
		key = sum
	}
	if len(key) > wire.MaxField {
		return nil, fmt.Errorf("the key has %d bytes: write at most %d", len(key), wire.MaxField)
	}
	return key, nil
}

// looked is what a form's lookup came to.
type looked struct {
	Typed, As string
	Error     string
	Hops      []schema.Hop
	schema.Looked
}

// lookUp finds the values of a key, for who waits for the page.
func (p *page) lookUp(ctx context.Context, text, as string) *looked {
	l := &looked{Typed: text, As: as}
	key, err := keyOf(text, as)
	if err != nil {
		l.Error = err.Error()
		return l
	}
	select {
	case p.lookups <- struct{}{}:
		defer func() { <-p.lookups }()
	default:
		l.Error = fmt.Sprintf("%d lookups of this page run already: ask again in a moment", cap(p.lookups))
		return l
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	l.Looked = p.node.Lookup(ctx, key, func(schema.Asked) {}, func(h schema.Hop) { l.Hops = append(l.Hops, h) })
	return l
}

// Said is what the lookup came to, in words.
func (l *looked) Said() string {
	of := fmt.Sprintf("%s answered of %s asked", count(l.Answered, "node"), count(l.Asked, "node"))
	switch l.Result {
	case schema.LookupFound:
		return fmt.Sprintf("Found: %s at %s; %s.", count(len(l.Values), "value"), count(l.Holders, "holder"), of)
	case schema.LookupNotFound:
		return "Not found: nobody who answered has it; " + of + "."
	case schema.LookupNoPeers:
		return "Nobody is known who could be asked."
	case schema.LookupUnanswered:
		return "Nobody answered; " + of + "."
	}
	return "It took too long; " + of + "."
}
