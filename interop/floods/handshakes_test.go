package floods

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/internal/conns"
)

// firstPacket is one with which a handshake begins and that nobody can read: that shows
// only once there is a connection for it.
func firstPacket(rng *rand.Rand) []byte {
	b := make([]byte, 1200)
	b[0] = 0xc0
	binary.BigEndian.PutUint32(b[1:], 1)
	b[5] = 8
	binary.BigEndian.PutUint64(b[6:], rng.Uint64())
	b[14] = 8
	binary.BigEndian.PutUint64(b[15:], rng.Uint64())
	b[23] = 0 // no token
	binary.BigEndian.PutUint16(b[24:], 0x4000|uint16(len(b)-26))
	for i := 26; i+8 <= len(b); i += 8 {
		binary.BigEndian.PutUint64(b[i:], rng.Uint64())
	}
	return b
}

// flood does something so often a second, spread evenly, until the context ends. It returns
// how often it was done.
func flood(ctx context.Context, perSecond int, do func(i int)) int {
	start := time.Now()
	for i := 0; ; i++ {
		if due := time.Duration(i) * time.Second / time.Duration(perSecond); due > time.Since(start)+time.Millisecond {
			select {
			case <-time.After(due - time.Since(start)):
			case <-ctx.Done():
				return i
			}
		} else if i%64 == 0 && ctx.Err() != nil {
			return i
		}
		do(i)
	}
}

// sendFirsts sends first packets from 16 addresses.
func sendFirsts(ctx context.Context, t *testing.T, to *target, perSecond int) int {
	rng := rand.New(rand.NewPCG(1, 2))
	var ports []*net.UDPConn
	for i := range 16 {
		udp, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, byte(10+i), 0, 1)}, to.addr)
		require.NoError(t, err)
		defer udp.Close()
		ports = append(ports, udp)
	}
	packet := firstPacket(rng)
	return flood(ctx, perSecond, func(i int) {
		binary.BigEndian.PutUint64(packet[6:], rng.Uint64())
		binary.BigEndian.PutUint64(packet[15:], rng.Uint64())
		_, _ = ports[i%len(ports)].Write(packet)
	})
}

// beginHandshakes has clients at 16 addresses begin handshakes. Those that are deaf prove
// their address where they have to and hear nothing more; others end the handshake and go
// without a word.
func beginHandshakes(ctx context.Context, t *testing.T, to *target, perSecond int, deaf bool) int {
	var clients sync.WaitGroup
	defer clients.Wait()
	var underWay atomic.Int64
	return flood(ctx, perSecond, func(i int) {
		if underWay.Load() > 2000 {
			return
		}
		s, err := newSource(fmt.Sprintf("127.%d.0.1", 10+i%16))
		if err != nil {
			return
		}
		s.wire.deaf.Store(deaf)
		underWay.Add(1)
		clients.Go(func() {
			defer underWay.Add(-1)
			defer s.close()
			ctx, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			conn, err := s.dial(ctx, to, kind(i%2), &quic.Config{HandshakeIdleTimeout: patience})
			if err != nil {
				return
			}
			s.wire.gone.Store(true)
			_ = conn.CloseWithError(0, "")
		})
	})
}

const (
	handshakeSlowdown = 5      // times as long an honest dial may take, at the 99th of 100
	carried           = 10_000 // packets a second that two processors can answer beside the clients
)

// Handshakes that never end, or that are ended for nothing: honest clients connect.
func TestHandshakeFloods(t *testing.T) {
	floods := map[string]func(context.Context, *testing.T, *target, int) int{
		"first packets": sendFirsts,
		"deaf": func(ctx context.Context, t *testing.T, to *target, perSecond int) int {
			return beginHandshakes(ctx, t, to, perSecond, true)
		},
		"dropped": func(ctx context.Context, t *testing.T, to *target, perSecond int) int {
			return beginHandshakes(ctx, t, to, perSecond, false)
		},
	}
	rates := map[string][]int{"first packets": {50, 1000, 10_000, 100_000}, "deaf": {50, 200}, "dropped": {50, 200}}
	if !*long {
		rates = map[string][]int{"first packets": {1000}, "deaf": {50}, "dropped": {50}}
	}
	for _, name := range []string{"first packets", "deaf", "dropped"} {
		for _, perSecond := range rates[name] {
			t.Run(fmt.Sprintf("%s/%d a second", name, perSecond), func(t *testing.T) {
				// Of so few handshakes the flood would take all, were there no Retry.
				to := startTarget(t, conns.Limits{Handshakes: 32, Unproved: 8})
				probed := whenLong(200, 20)
				calm := measure(t, to, probed)
				before := to.resident(t)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				sent := make(chan int, 1)
				go func() { sent <- floods[name](ctx, t, to, perSecond) }()
				start := time.Now()
				if *long { // until those that never end are as many as they become
					time.Sleep(12 * time.Second)
				} else {
					time.Sleep(200 * time.Millisecond)
				}
				attacked := measure(t, to, probed)
				most := to.resident(t)
				took := time.Since(start)
				cancel()
				n := <-sent
				t.Logf("calm: %v", calm)
				t.Logf("%s, %.0f a second: %v", name, float64(n)/took.Seconds(), attacked)
				t.Logf("memory: %d MiB before, %d during", before/mib, most/mib)
				require.GreaterOrEqual(t, attacked.succeeded(), 99.0)
				if *long && perSecond <= carried {
					require.LessOrEqual(t, attacked.at(0.99), handshakeSlowdown*calm.at(0.99))
				}
			})
		}
	}
}
