package routing

import (
	"testing"

	"github.com/stretchr/testify/require"
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
