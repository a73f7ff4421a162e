package lossynet

import (
	"container/heap"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// Conditions are those of the way from each host to each other. The zero value loses
// nothing and takes no time.
type Conditions struct {
	Loss   float64       // the part of all packets that is lost, 0 to 1
	Delay  time.Duration // of each packet, one way
	Jitter time.Duration // up to which a packet takes longer, at random
	// Late is the part of all packets that is held back by LateBy more, so that those
	// behind overtake them.
	Late   float64
	LateBy time.Duration
}

func (c Conditions) check() error {
	if c.Loss < 0 || c.Loss > 1 || c.Late < 0 || c.Late > 1 || c.Delay < 0 || c.Jitter < 0 || c.LateBy < 0 {
		return fmt.Errorf("lossynet: conditions %+v: want parts of 0 to 1, and times that are not negative", c)
	}
	return nil
}

// Stats are numbers of packets since the switch was made.
type Stats struct {
	Sent      int // by a host to another one
	Delivered int
	Overtaken int // of those delivered: by a later one of the same two hosts
	Lost      int // by chance
	Parted    int // lost between two sides
	Crowded   int // lost as too many were under way
	Elsewhere int // to no host of the switch, or of another kind than IPv4
}

// maxQueued is how many packets may be under way; 64 MiB at most with those of a device.
const maxQueued = 1 << 15

// Switch joins devices. What becomes of the nth packet from one host to another depends on
// the seed and n alone. It is safe for concurrent use.
type Switch struct {
	wake    chan struct{} // has a token when the first packet under way is another one
	closing chan struct{}
	running sync.WaitGroup

	mu     sync.Mutex
	seed   uint64
	now    Conditions
	ports  map[netip.Addr]*port
	queue  packets
	nth    uint64 // numbers packets in the order in which they were sent
	stats  Stats
	closed bool
}

// port is where a host is attached.
type port struct {
	index  uint64
	device io.ReadWriteCloser
	side   int // packets between two sides are lost
	links  map[netip.Addr]*link
}

// link is the way from one host to another.
type link struct {
	rng    *rand.Rand
	newest uint64 // that was delivered
}

// New returns a switch without hosts, whose conditions are perfect.
func New(seed uint64) *Switch {
	s := &Switch{
		wake:    make(chan struct{}, 1),
		closing: make(chan struct{}),
		seed:    seed,
		ports:   make(map[netip.Addr]*port),
	}
	s.running.Go(s.deliver)
	return s
}

// ErrClosed: the switch is closed.
var ErrClosed = errors.New("lossynet: the switch is closed")

// Attach joins a device, which the switch closes at its end: each Read returns, and each
// Write takes, one IP packet. Packets to the address go to it.
func (s *Switch) Attach(addr netip.Addr, device io.ReadWriteCloser) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return ErrClosed
	case !addr.Is4():
		return fmt.Errorf("lossynet: attach %v: want an IPv4 address", addr)
	case s.ports[addr] != nil:
		return fmt.Errorf("lossynet: attach %v: it is attached", addr)
	}
	p := &port{index: uint64(len(s.ports)), device: device, links: make(map[netip.Addr]*link)}
	s.ports[addr] = p
	s.running.Go(func() { s.take(addr, p) })
	return nil
}

// Set sets the conditions of what is sent from here on.
func (s *Switch) Set(c Conditions) error {
	if err := c.check(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = c
	return nil
}

// Part has all packets between these hosts and all others be lost, those that are under
// way too.
func (s *Switch) Part(side ...netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.ports {
		p.side = 0
	}
	for _, addr := range side {
		if p := s.ports[addr]; p != nil {
			p.side = 1
		}
	}
}

// Heal ends the partition.
func (s *Switch) Heal() { s.Part() }

// Stats returns what has become of the packets.
func (s *Switch) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// Close closes all devices and waits until nothing of the switch runs. Packets that are
// under way are dropped.
func (s *Switch) Close() error {
	s.mu.Lock()
	var err error
	if !s.closed {
		s.closed = true
		close(s.closing)
		for _, p := range s.ports {
			err = errors.Join(err, p.device.Close())
		}
	}
	s.mu.Unlock()
	s.running.Wait()
	return err
}

// maxPacket is the longest IP packet, in bytes.
const maxPacket = 64 << 10

// take takes what a host sends until its device is closed.
func (s *Switch) take(from netip.Addr, p *port) {
	b := make([]byte, maxPacket)
	for {
		n, err := p.device.Read(b)
		if err != nil {
			return
		}
		s.send(from, p, b[:n])
	}
}

// send has a packet be under way, or be lost.
func (s *Switch) send(from netip.Addr, p *port, packet []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	to, ok := destination(packet)
	if !ok || s.ports[to] == nil || to == from {
		s.stats.Elsewhere++
		return
	}
	l := p.links[to]
	if l == nil {
		l = &link{rng: rand.New(rand.NewPCG(s.seed, p.index<<32|s.ports[to].index))}
		p.links[to] = l
	}
	lost, jitter, late := l.rng.Float64(), l.rng.Float64(), l.rng.Float64() // all of them for each, or one would move the others
	s.stats.Sent++
	switch {
	case lost < s.now.Loss:
		s.stats.Lost++
		return
	case len(s.queue) >= maxQueued:
		s.stats.Crowded++
		return
	}
	takes := s.now.Delay + time.Duration(jitter*float64(s.now.Jitter))
	if late < s.now.Late {
		takes += s.now.LateBy
	}
	s.nth++
	next := &underWay{due: time.Now().Add(takes), nth: s.nth, link: l, from: p, to: s.ports[to], bytes: append([]byte(nil), packet...)}
	heap.Push(&s.queue, next)
	if s.queue[0] == next {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// destination returns where an IPv4 packet goes.
func destination(packet []byte) (to netip.Addr, ok bool) {
	const header = 20
	if len(packet) < header || packet[0]>>4 != 4 {
		return to, false
	}
	return netip.AddrFrom4([4]byte(packet[16:20])), true
}

// deliver hands packets over when they are due.
func (s *Switch) deliver() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		for _, u := range s.due() {
			_, _ = u.to.device.Write(u.bytes) // who is gone gets nothing, as on any network
		}
		s.mu.Lock()
		wait := time.Hour
		if len(s.queue) > 0 {
			wait = time.Until(s.queue[0].due)
		}
		s.mu.Unlock()
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-s.wake:
		case <-s.closing:
			return
		}
	}
}

// due returns the packets that arrive by now, in order.
func (s *Switch) due() (arrive []*underWay) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for now := time.Now(); len(s.queue) > 0 && !s.queue[0].due.After(now); {
		u := heap.Pop(&s.queue).(*underWay)
		if u.from.side != u.to.side {
			s.stats.Parted++
			continue
		}
		if u.nth < u.link.newest {
			s.stats.Overtaken++
		}
		u.link.newest = max(u.link.newest, u.nth)
		s.stats.Delivered++
		arrive = append(arrive, u)
	}
	return arrive
}

// underWay is a packet that is.
type underWay struct {
	due      time.Time
	nth      uint64
	link     *link
	from, to *port
	bytes    []byte
}

// packets is a heap, of what is due first and was sent first.
type packets []*underWay

func (p packets) Len() int      { return len(p) }
func (p packets) Swap(i, j int) { p[i], p[j] = p[j], p[i] }

func (p packets) Less(i, j int) bool {
	if !p[i].due.Equal(p[j].due) {
		return p[i].due.Before(p[j].due)
	}
	return p[i].nth < p[j].nth
}

// Push implements heap.Interface.
func (p *packets) Push(u any) { *p = append(*p, u.(*underWay)) }

// Pop implements heap.Interface.
func (p *packets) Pop() any {
	last := len(*p) - 1
	u := (*p)[last]
	(*p)[last] = nil
	*p = (*p)[:last]
	return u
}
