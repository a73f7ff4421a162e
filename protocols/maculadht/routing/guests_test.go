package routing

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func attach(t *testing.T, s *Server, c Contact) (detach func()) {
	t.Helper()
	detach, err := s.AttachGuest(c)
	require.NoError(t, err)
	return detach
}

func TestGuestIsListedWhileAttached(t *testing.T) {
	s := newServer(t)
	guest := erlangContact(ID{1}, "https://x:1")
	detach := attach(t, s, guest)

	listed := s.FindNode(guest.NodeID)
	require.Equal(t, []ID{guest.ID}, ids(listed))
	require.False(t, listed[0].Verified, "whatever the caller says")
	require.Empty(t, s.Contacts(), "a guest is no contact")
	require.Empty(t, s.Nearest(guest.ID, 20), "and is not asked")
	require.Equal(t, 1, s.Stats().Guests)

	detach()
	require.Empty(t, s.FindNode(guest.NodeID))
	detach()
	require.Zero(t, s.guests.count, "detaching twice counts once")
}

func TestGuestWithTwoConnections(t *testing.T) {
	older, newer := erlangContact(ID{1}, "https://x:1"), erlangContact(ID{1}, "https://x:2")
	tests := []struct {
		name  string
		first func(detachOlder, detachNewer func())
		want  string
	}{
		{"both", func(_, _ func()) {}, "https://x:2"},
		{"the older goes", func(detachOlder, _ func()) { detachOlder() }, "https://x:2"},
		{"the newer goes", func(_, detachNewer func()) { detachNewer() }, "https://x:1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(t)
			detachOlder, detachNewer := attach(t, s, older), attach(t, s, newer)
			tt.first(detachOlder, detachNewer)
			listed := s.FindNode(nil)
			require.Len(t, listed, 1)
			require.Equal(t, tt.want, listed[0].Endpoint)
			detachOlder()
			detachNewer()
			require.Empty(t, s.FindNode(nil))
			require.Empty(t, s.guests.attached)
		})
	}
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

func TestGuestDoesNotHideAnotherByItsEndpoint(t *testing.T) {
	s := newServer(t)
	attach(t, s, erlangContact(ID{1}, "https://x:1"))
	attach(t, s, erlangContact(ID{2}, "https://x:1"))
	require.Len(t, s.FindNode(nil), 2)
}

func TestFindNodeNamesANodeOnce(t *testing.T) {
	tests := []struct {
		name           string
		contact, guest Contact
		want           []ID
	}{
		{"same id", erlangContact(ID{1}, "https://x:1"), erlangContact(ID{1}, "https://x:2"), []ID{{1}}},
		{"same endpoint", erlangContact(ID{4}, "https://x:1"), erlangContact(ID{1}, "https://x:1"), []ID{{4}}},
		{"guest claims a peer's id", libp2pContact(ID{1}, "p"), erlangContact(ID{1}, "https://x:1"), []ID{{1}}},
		{"two nodes", erlangContact(ID{4}, "https://x:1"), erlangContact(ID{1}, "https://x:2"), []ID{{1}, {4}}},
		{"no endpoints", erlangContact(ID{4}, ""), erlangContact(ID{1}, ""), []ID{{1}, {4}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(t)
			require.NoError(t, s.Admit(tt.contact))
			attach(t, s, tt.guest)
			listed := s.FindNode(make([]byte, 32))
			require.Equal(t, tt.want, ids(listed))
			require.True(t, listed[len(listed)-1].Verified, "the contact stands for both")
		})
	}
}

// The nearest of table and guests together, against a sort of the union in
// which guests that are contacts as well count once.
func TestFindNodeEqualsBruteForce(t *testing.T) {
	rng := newRand(6)
	for range 150 {
		s := newServer(t)
		union := map[ID]bool{}
		for range rng.IntN(60) {
			c := libp2pContact(randomID(rng), "p")
			if s.Admit(c) == nil {
				union[c.ID] = true
			}
		}
		for _, c := range s.Contacts() {
			if rng.IntN(3) == 0 {
				attach(t, s, erlangContact(c.ID, "https://x:1"))
			}
		}
		for range rng.IntN(60) {
			c := erlangContact(randomID(rng), "")
			attach(t, s, c)
			union[c.ID] = true
		}
		all := make([]ID, 0, len(union))
		for id := range union {
			all = append(all, id)
		}
		for range 10 {
			target := randomID(rng)
			require.Equal(t, bruteForce(all, target, BucketSize), ids(s.FindNode(target[:])))
		}
	}
}

func TestFindNodeHashesTheTarget(t *testing.T) {
	s := newServer(t)
	id := IDFromBytes([]byte("hex text"))
	far := id
	far[0] ^= 0xff
	require.NoError(t, s.Admit(libp2pContact(far, "far")))
	require.NoError(t, s.Admit(libp2pContact(id, "near")))
	require.Equal(t, []ID{id, far}, ids(s.FindNode([]byte("hex text"))))
}

// A guest that becomes a contact meanwhile is named once in every reply.
func TestFindNodeWhileGuestsBecomeContacts(t *testing.T) {
	s := newServer(t)
	guest := erlangContact(ID{1}, "https://x:1")
	attach(t, s, guest)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = s.Admit(guest)
				s.Forget(guest.ID)
			}
		}
	})
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if detach, err := s.AttachGuest(guest); err == nil {
					detach()
				}
			}
		}
	})
	for range 5000 {
		if n := len(s.FindNode(nil)); n != 1 {
			t.Errorf("named %d times", n)
			break
		}
	}
	close(stop)
	wg.Wait()
}
