package lossynet

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	alice = netip.MustParseAddr("10.77.0.1")
	bob   = netip.MustParseAddr("10.77.0.2")
	carol = netip.MustParseAddr("10.77.0.3")
)

// device is one in memory.
type device struct {
	addr   netip.Addr
	sends  chan []byte
	closed chan struct{}
	once   sync.Once

	mu  sync.Mutex
	got []arrival
}

// arrival is a packet that came, and when.
type arrival struct {
	number byte
	at     time.Time
}

func (d *device) Read(b []byte) (int, error) {
	select {
	case p := <-d.sends:
		return copy(b, p), nil
	case <-d.closed:
		return 0, io.EOF
	}
}

func (d *device) Write(b []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.got = append(d.got, arrival{b[20], time.Now()})
	return len(b), nil
}

func (d *device) Close() error {
	d.once.Do(func() { close(d.closed) })
	return nil
}

// send sends a packet with a number in it.
func (d *device) send(to netip.Addr, number byte) {
	p := make([]byte, 21)
	p[0] = 0x45
	copy(p[12:], d.addr.AsSlice())
	copy(p[16:], to.AsSlice())
	p[20] = number
	d.sends <- p
}

// takeAll returns what has come since, in order.
func (d *device) takeAll() (got []arrival) {
	d.mu.Lock()
	defer d.mu.Unlock()
	got, d.got = d.got, nil
	return got
}

func (d *device) numbers() (n []byte) {
	for _, a := range d.takeAll() {
		n = append(n, a.number)
	}
	return n
}

func attach(t *testing.T, s *Switch, addrs ...netip.Addr) (devices []*device) {
	t.Helper()
	for _, addr := range addrs {
		d := &device{addr: addr, sends: make(chan []byte), closed: make(chan struct{})}
		require.NoError(t, s.Attach(addr, d))
		devices = append(devices, d)
	}
	return devices
}

func TestConditions(t *testing.T) {
	const n = 200
	for name, test := range map[string]struct {
		conditions      Conditions
		lost, overtaken [2]int // least and most of n
		takes           [2]time.Duration
	}{
		"perfect":  {Conditions{}, [2]int{0, 0}, [2]int{0, 0}, [2]time.Duration{0, 0}},
		"far":      {Conditions{Delay: 100 * time.Millisecond}, [2]int{0, 0}, [2]int{0, 0}, [2]time.Duration{100 * time.Millisecond, 100 * time.Millisecond}},
		"lossy":    {Conditions{Loss: 0.1}, [2]int{5, 40}, [2]int{0, 0}, [2]time.Duration{0, 0}},
		"dead":     {Conditions{Loss: 1}, [2]int{n, n}, [2]int{0, 0}, [2]time.Duration{0, 0}},
		"unsteady": {Conditions{Jitter: 30 * time.Millisecond}, [2]int{0, 0}, [2]int{20, n}, [2]time.Duration{0, 30 * time.Millisecond}},
		"late now and then": {Conditions{Delay: time.Second, Late: 0.1, LateBy: 15 * time.Millisecond}, [2]int{0, 0}, [2]int{5, 40},
			[2]time.Duration{time.Second, time.Second + 15*time.Millisecond}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := New(1)
				defer s.Close()
				require.NoError(t, s.Set(test.conditions))
				d := attach(t, s, alice, bob)
				var sent [n]time.Time
				for i := range n {
					sent[i] = time.Now()
					d[0].send(bob, byte(i))
					time.Sleep(10 * time.Millisecond)
				}
				time.Sleep(time.Minute)
				got := d[1].takeAll()
				for _, a := range got {
					took := a.at.Sub(sent[a.number])
					require.True(t, test.takes[0] <= took && took <= test.takes[1], "%v", took)
				}
				stats := s.Stats()
				require.Equal(t, n, stats.Sent)
				require.Equal(t, len(got), stats.Delivered)
				require.Equal(t, n, stats.Delivered+stats.Lost)
				require.GreaterOrEqual(t, stats.Lost, test.lost[0])
				require.LessOrEqual(t, stats.Lost, test.lost[1])
				require.GreaterOrEqual(t, stats.Overtaken, test.overtaken[0])
				require.LessOrEqual(t, stats.Overtaken, test.overtaken[1])
				inOrder := slices.IsSortedFunc(got, func(a, b arrival) int { return int(a.number) - int(b.number) })
				require.Equal(t, stats.Overtaken == 0, inOrder)
			})
		})
	}
}

// One seed has one fate for the nth packet of each two hosts, whatever others send between.
func TestSeed(t *testing.T) {
	run := func(seed uint64, between bool) (got []arrival) {
		synctest.Test(t, func(t *testing.T) {
			s := New(seed)
			defer s.Close()
			require.NoError(t, s.Set(Conditions{Loss: 0.3, Delay: time.Second, Jitter: time.Second}))
			d := attach(t, s, alice, bob, carol)
			for i := range 100 {
				if between {
					d[2].send(bob, 200)
				}
				d[0].send(bob, byte(i))
			}
			time.Sleep(time.Minute)
			got = slices.DeleteFunc(d[1].takeAll(), func(a arrival) bool { return a.number == 200 })
		})
		return got
	}
	first := run(7, false)
	require.Equal(t, first, run(7, false))
	require.Equal(t, first, run(7, true))
	require.NotEqual(t, first, run(8, false))
}

func TestPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(1)
		defer s.Close()
		require.NoError(t, s.Set(Conditions{Delay: time.Second}))
		d := attach(t, s, alice, bob, carol)
		d[0].send(carol, 1)
		time.Sleep(500 * time.Millisecond)
		s.Part(alice, bob) // while it is under way
		d[0].send(carol, 2)
		d[2].send(alice, 3)
		d[0].send(bob, 4)
		time.Sleep(10 * time.Second)
		require.Empty(t, d[2].numbers())
		require.Empty(t, d[0].numbers())
		require.Equal(t, []byte{4}, d[1].numbers())
		s.Part(bob) // another one in its place
		d[0].send(bob, 5)
		d[0].send(carol, 6)
		time.Sleep(10 * time.Second)
		require.Empty(t, d[1].numbers())
		require.Equal(t, []byte{6}, d[2].numbers())
		s.Heal()
		d[1].send(carol, 7)
		time.Sleep(10 * time.Second)
		require.Equal(t, []byte{7}, d[2].numbers())
		require.Equal(t, Stats{Sent: 7, Delivered: 3, Parted: 4}, s.Stats())
	})
}

// Nothing but packets from one host to another goes anywhere.
func TestElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(1)
		defer s.Close()
		d := attach(t, s, alice, bob)
		for _, to := range []string{"10.77.0.9", "192.0.2.1", "255.255.255.255", alice.String()} {
			d[0].send(netip.MustParseAddr(to), 1)
		}
		d[0].sends <- []byte{0x60, 0}                                              // IPv6
		d[0].sends <- slices.Concat([]byte{0x60}, make([]byte, 15), bob.AsSlice()) // and as long as IPv4
		d[0].sends <- []byte{0x45}                                                 // no whole header
		time.Sleep(time.Second)
		require.Equal(t, Stats{Elsewhere: 7}, s.Stats())
		require.Empty(t, d[0].numbers())
		require.Empty(t, d[1].numbers())
	})
}

func TestCrowded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(1)
		defer s.Close()
		require.NoError(t, s.Set(Conditions{Delay: time.Hour}))
		d := attach(t, s, alice, bob)
		for range maxQueued + 3 {
			d[0].send(bob, 1)
		}
		synctest.Wait()
		require.Equal(t, Stats{Sent: maxQueued + 3, Crowded: 3}, s.Stats())
	})
}

func TestCloseOfSwitch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(1)
		require.NoError(t, s.Set(Conditions{Delay: time.Second}))
		d := attach(t, s, alice, bob)
		d[0].send(bob, 1)
		require.NoError(t, s.Close())
		<-d[0].closed
		<-d[1].closed
		require.NoError(t, s.Close())
		require.ErrorIs(t, s.Attach(carol, d[0]), ErrClosed)
		time.Sleep(time.Minute)
		require.Empty(t, d[1].numbers())
	})
}

func TestRefusals(t *testing.T) {
	s := New(1)
	defer s.Close()
	d := attach(t, s, alice)
	require.ErrorContains(t, s.Attach(alice, d[0]), "it is attached")
	require.ErrorContains(t, s.Attach(netip.IPv6Loopback(), d[0]), "want an IPv4 address")
	for i, c := range []Conditions{{Loss: -0.1}, {Loss: 1.1}, {Late: 2}, {Delay: -1}, {Jitter: -1}, {LateBy: -1}} {
		require.ErrorContains(t, s.Set(c), "want parts of 0 to 1", fmt.Sprint(i))
	}
}
