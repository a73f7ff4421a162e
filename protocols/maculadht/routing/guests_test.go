package routing

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func attach(t *testing.T, s *Server, c Contact) (detach func()) {
	t.Helper()
	detach, err := s.AttachGuest(c)
	require.NoError(t, err)
	return detach
}

func TestGuestsCountAndAreNotNamed(t *testing.T) {
	s := newServer(t)
	guest := erlangContact(ID{1}, "https://192.0.2.1:1")
	detach := attach(t, s, guest)
	again := attach(t, s, guest)
	require.Equal(t, 1, s.Stats().Guests, "one node with two connections")
	require.Empty(t, s.FindNode(guest.NodeID))
	require.Empty(t, s.FindGateways(guest.NodeID))
	require.Empty(t, s.Contacts(), "a guest is no contact")
	require.Empty(t, s.Nearest(guest.ID, 20), "and is not asked")

	detach()
	detach()
	require.Equal(t, 1, s.Stats().Guests, "detaching twice counts once")
	again()
	require.Zero(t, s.Stats().Guests)
	require.Zero(t, s.guests.count)
}

func TestGuestRefused(t *testing.T) {
	s := newServer(t)
	_, err := s.AttachGuest(erlangContact(s.Self(), "https://x:1"))
	require.ErrorIs(t, err, ErrSelf)
	_, err = s.AttachGuest(libp2pContact(ID{1}, "p"))
	require.ErrorIs(t, err, ErrNotErlang)

	rng := newRand(5)
	for range MaxGuests - 1 {
		attach(t, s, erlangContact(randomID(rng), ""))
	}
	detach := attach(t, s, erlangContact(ID{1}, ""))
	_, err = s.AttachGuest(erlangContact(ID{1}, ""))
	require.ErrorIs(t, err, ErrGuestsFull)
	require.Equal(t, MaxGuests, s.Stats().Guests)
	detach()
	attach(t, s, erlangContact(ID{1}, ""))
}
