package records_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// A peer stores what it offers under a key; whoever asks for the key finds it.
func Example() {
	ctx := context.Background()
	m, err := records.New()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer m.Close()

	sender := sha256.Sum256([]byte("their peer id"))
	key := sha256.Sum256([]byte("com.example.add"))
	err = m.Store(ctx, records.Put{
		Key:    key[:],
		Value:  []byte("\x81\xc4\x08endpoint\xc4\x10https://a.b:9443"),
		NodeID: sender[:],
		TTL:    5 * time.Minute,
		From:   sender[:],
		Source: records.Source{Name: "their peer id", Group: "192.0.2.0/24"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	found, err := m.Values(ctx, key[:])
	fmt.Println(len(found), found[0].Owned, err)

	_, err = m.Values(ctx, []byte("nobody"))
	fmt.Println(errors.Is(err, records.ErrNotFound))
	// Output:
	// 1 true <nil>
	// true
}
