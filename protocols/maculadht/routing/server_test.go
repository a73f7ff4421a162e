package routing

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

func TestServerContacts(t *testing.T) {
	s := newServer(t, WithBucketSize(1))
	c := libp2pContact(ID{0x80}, "p")
	require.ErrorIs(t, s.Admit(Contact{ID: ID{1}, Peer: "p"}), ErrUnverified)
	require.ErrorIs(t, s.Admit(libp2pContact(s.Self(), "p")), ErrSelf)
	require.NoError(t, s.Admit(c))
	require.ErrorIs(t, s.Admit(libp2pContact(ID{0x81}, "q")), ErrBucketFull)

	got, ok := s.Contact(c.ID)
	require.True(t, ok)
	require.Equal(t, c, got)
	require.Equal(t, []Contact{c}, s.Contacts())
	require.Equal(t, []Contact{c}, s.Nearest(ID{}, 20))
	require.Equal(t, 1, s.Stats().Contacts)
	require.True(t, s.Forget(c.ID))
	require.False(t, s.Forget(c.ID))
}

// A server closes the records that it has made, and no others.
func TestServerCloses(t *testing.T) {
	store := &closedStore{Store: records.NewMemoryStore()}
	kept, err := records.New(records.WithStore(store))
	require.NoError(t, err)
	given, err := NewServer(ID{}, WithRecords(kept))
	require.NoError(t, err)
	require.Same(t, kept, given.Records())
	require.NoError(t, given.Close())
	require.False(t, store.closed)
	require.NoError(t, kept.Close())
	require.True(t, store.closed)

	own, err := NewServer(ID{}) // its sweeper is a goroutine, which goleak looks for
	require.NoError(t, err)
	require.NotNil(t, own.Records())
	require.NoError(t, own.Close())
	require.NoError(t, own.Close(), "twice is fine")
}

type closedStore struct {
	records.Store
	closed bool
}

func (c *closedStore) Close() error {
	c.closed = true
	return c.Store.Close()
}
