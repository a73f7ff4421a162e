package pebble

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var us = Owner{Realm: "test", NodeID: []byte("the id of this node, of 32 bytes")}

// open opens a store that is closed with the test.
func open(tb testing.TB, dir string, opts ...Option) *Store {
	tb.Helper()
	s, err := Open(dir, us, opts...)
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = s.Close() })
	return s
}

// set has a store keep a list under a key, and waits for it.
func set(s *Store, key string, d records.Durability, list ...records.Record) error {
	done := make(chan error, 1)
	s.Update(context.Background(), []byte(key), d, func([]records.Record) []records.Record { return list }, func(err error) { done <- err })
	return <-done
}

func rec(value string, life time.Duration) records.Record {
	return records.Record{Value: []byte(value), NodeID: []byte(value), Expires: time.Now().Add(life), Source: records.Source{Name: "s", Group: "g"}}
}

// often has a store look at its disk more often than every second.
func often(c *config) error {
	c.tick = 10 * time.Millisecond
	return nil
}

// killed returns a copy of what an open store has on the disk, as a kill leaves it.
func killed(t *testing.T, live string) (dir string) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		dir = filepath.Join(t.TempDir(), "killed")
		if err = os.CopyFS(dir, os.DirFS(live)); !errors.Is(err, fs.ErrNotExist) { // Pebble clears away beside
			break
		}
	}
	require.NoError(t, err)
	return dir
}
