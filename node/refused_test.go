package node

import (
	"context"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// refusingStore is one that fails with an error, from a moment on.
type refusingStore struct {
	records.Store
	why atomic.Pointer[error]
}

func (s *refusingStore) Update(ctx context.Context, key []byte, d records.Durability, change func([]records.Record) []records.Record, done func(error)) {
	if why := s.why.Load(); why != nil {
		done(*why)
		return
	}
	s.Store.Update(ctx, key, d, change, done)
}

// Whoever stores at a node that can not keep it is told why, over both transports: that
// the disk fails, and not that the value is a bad one.
func TestRefusedByTheStore(t *testing.T) {
	store := &refusingStore{Store: records.NewMemoryStore()}
	n := startNode(t, func(c *Config) { c.Store = store })
	other := startNode(t, bootstrappedBy(n))
	require.Eventually(t, func() bool { return other.knows(n) }, 2*patience, tick)
	peer, _ := other.Service().Routing().Contact(n.ID())
	kept := n.Service().Routing().Records()
	for i := range records.MaxProviders {
		id := fmt.Append(nil, "owner ", i)
		require.NoError(t, kept.Store(t.Context(), records.Put{Key: []byte("full"), Value: []byte("v"), NodeID: id, From: id}))
	}
	for name, test := range map[string]struct {
		key  string
		err  error
		code string
	}{
		"the disk fails":          {"k", syscall.EIO, wire.CodeStoreFailed},
		"the disk is full":        {"k", fmt.Errorf("write: %w", syscall.ENOSPC), wire.CodeStoreFailed},
		"the store's disk share":  {"k", pebble.ErrNoRoom, wire.CodeStoreFailed},
		"the store is closed":     {"k", pebble.ErrClosed, wire.CodeStoreFailed},
		"the store gave up":       {"k", context.DeadlineExceeded, wire.CodeStoreFailed},
		"the key has no room":     {"full", nil, wire.CodeKeyFull},
		"nothing is wrong at all": {"k", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			store.why.Store(nil)
			if test.err != nil {
				store.why.Store(&test.err)
			}
			for transport, ask := range map[string]func() error{
				"libp2p": func() error { return put(t, other.Service().Client(), peer, test.key) },
				"Erlang": func() error { return put(t, other.Dialer(), erlangContact(n), test.key) },
			} {
				err := ask()
				if test.code == "" {
					require.NoError(t, err, transport)
					continue
				}
				var remote *proto.RemoteError
				require.ErrorAs(t, err, &remote, transport)
				require.Equal(t, test.code, remote.Code, transport)
				require.NotContains(t, remote.Message, "Invalid", transport)

				dropped := n.Service().Handlers().Stats().DroppedStores
				require.NoError(t, other.Service().Client().Send(patient(t), peer, &wire.Store{Key: []byte(test.key), Value: provider("me")}))
				require.Eventually(t, func() bool { return n.Service().Handlers().Stats().DroppedStores == dropped+1 }, patience, tick)
			}
		})
	}
	store.why.Store(nil)
}

func put(t *testing.T, n routing.Network, to routing.Contact, key string) error {
	return client.Put(patient(t), n, to, procedures.StoreArgs{Key: []byte(key), Value: provider("me")})
}
