package pubsub_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	gossip "github.com/libp2p/go-libp2p-pubsub"
	gossippb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/node"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/pubsub"
)

const (
	benchTopic = "t"
	lostAfter  = 5 * time.Second // what has not come by then does not come
)

// stamped is a payload that says when it was made.
func stamped() []byte {
	b := make([]byte, 200)
	binary.BigEndian.PutUint64(b, uint64(time.Now().UnixNano()))
	return b
}

// arrivals are how long copies took that were read.
type arrivals chan time.Duration

func (a arrivals) note(payload []byte) {
	a <- time.Duration(time.Now().UnixNano() - int64(binary.BigEndian.Uint64(payload)))
}

func (a arrivals) noteFrame(f framing.Frame) {
	if f.Type != wire.TypePublish {
		return
	}
	v, _ := wire.Raw(f.Payload).Field("payload")
	payload, _ := v.Bytes()
	a.note(payload)
}

// measure publishes with at most 64 messages on their way, and reports how many copies a
// second arrive, and how long the slowest of a hundred take.
func (a arrivals) measure(b *testing.B, subscribers int, publish func(payload []byte)) {
	const window = 64
	took := make([]time.Duration, 0, 1<<20)
	lost := 0
	read := func(n int) {
		late := time.NewTimer(lostAfter)
		defer late.Stop()
		for i := range n {
			select {
			case d := <-a:
				took = append(took, d)
			case <-late.C:
				lost += n - i
				return
			}
		}
	}
	waits := 0
	for b.Loop() {
		publish(stamped())
		if waits++; waits == window {
			read(subscribers)
			waits--
		}
	}
	read(waits * subscribers)
	b.ReportMetric(float64(len(took))/b.Elapsed().Seconds(), "copies/s")
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100])/float64(time.Microsecond), "p99-µs")
	b.ReportMetric(float64(lost), "lost")
}

func unlimited() *maculadht.Limits {
	limits := maculadht.DefaultLimits()
	limits.Accounts.Source.FrameRate, limits.Accounts.Group.FrameRate = rate.Inf, rate.Inf
	return &limits
}

// BenchmarkPublish delivers to clients on raw QUIC streams, and beside that pushes the same
// frames to the same streams without topics.
func BenchmarkPublish(b *testing.B) {
	for _, subscribers := range []int{1, 10, 100} {
		n := startNodeOf(b, node.Config{Limits: unlimited()})
		read := make(arrivals, 1<<16)
		clients := n.Service().Handlers().Mux().Clients()
		var push []func(frame []byte) error
		for i := range subscribers {
			id := fmt.Sprintf("%032d", i)
			e := newErlang(b, n, id)
			e.subscribe(benchTopic)
			p, _ := clients.Get([]byte(id))
			push = append(push, p.Push)
			go func() {
				e.stream.SetReadDeadline(time.Time{})
				for {
					f, err := e.in.Next()
					if err != nil {
						return
					}
					read.noteFrame(f)
				}
			}()
		}
		b.Run(fmt.Sprintf("topics/%d", subscribers), func(b *testing.B) {
			read.measure(b, subscribers, func(payload []byte) { _ = n.Topics().Publish(b.Context(), benchTopic, payload) })
		})
		b.Run(fmt.Sprintf("bare/%d", subscribers), func(b *testing.B) {
			read.measure(b, subscribers, func(payload []byte) {
				f, _ := framing.AppendFrame(nil, &wire.Publish{Topic: benchTopic, Payload: wire.RawBytes(payload), MessageID: counter(1)})
				for _, push := range push {
					_ = push(f)
				}
			})
		})
	}
}

// BenchmarkPeers publishes to libp2p peers, each one hop away, by topics and by gossipsub
// between the same hosts, which neither signs nor verifies there.
func BenchmarkPeers(b *testing.B) {
	for _, subscribers := range []int{1, 10, 100} {
		newHost := func() host.Host {
			h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/udp/0/quic-v1"), libp2p.Transport(libp2pquic.NewTransport),
				libp2p.DisableRelay(), libp2p.DisableMetrics(), libp2p.DisableIdentifyAddressDiscovery())
			require.NoError(b, err)
			b.Cleanup(func() { h.Close() })
			return h
		}
		service := func(h host.Host) *maculadht.Service {
			s, err := maculadht.New(h, maculadht.WithRealm(realm), maculadht.WithLimits(*unlimited()))
			require.NoError(b, err)
			b.Cleanup(func() { s.Close() })
			return s
		}
		gossips := func(h host.Host) *gossip.Topic {
			g, err := gossip.NewGossipSub(b.Context(), h, gossip.WithMessageSignaturePolicy(gossip.StrictNoSign), gossip.WithFloodPublish(true),
				gossip.WithPeerOutboundQueueSize(1024), gossip.WithMessageIdFn(func(m *gossippb.Message) string { return string(m.Data[:8]) }))
			require.NoError(b, err)
			t, err := g.Join(benchTopic)
			require.NoError(b, err)
			return t
		}
		publisher := newHost()
		s := service(publisher)
		topics, err := pubsub.New(s)
		require.NoError(b, err)
		b.Cleanup(func() { topics.Close() })
		at := routing.Contact{Peer: publisher.ID(), Addrs: publisher.Addrs()}
		read, gossiped := make(arrivals, 1<<16), make(arrivals, 1<<16)
		out := gossips(publisher)
		for range subscribers {
			h := newHost()
			require.NoError(b, h.Connect(b.Context(), peer.AddrInfo{ID: publisher.ID(), Addrs: publisher.Addrs()}))
			session, err := service(h).Client().OpenSession(b.Context(), at)
			require.NoError(b, err)
			f, err := framing.AppendFrame(nil, &wire.Subscribe{Topics: []string{benchTopic}})
			require.NoError(b, err)
			_, err = session.Write(f)
			require.NoError(b, err)
			b.Cleanup(func() { session.Reset(0) })
			go func() {
				for {
					f, err := session.Next()
					if err != nil {
						return
					}
					read.noteFrame(f)
				}
			}()
			in, err := gossips(h).Subscribe(gossip.WithBufferSize(4096))
			require.NoError(b, err)
			go func() {
				for {
					m, err := in.Next(b.Context())
					if err != nil {
						return
					}
					gossiped.note(m.Data)
				}
			}()
		}
		require.Eventually(b, func() bool {
			return topics.Stats().Subscriptions == subscribers && len(out.ListPeers()) == subscribers
		}, patience, tick)
		b.Run(fmt.Sprintf("topics/%d", subscribers), func(b *testing.B) {
			read.measure(b, subscribers, func(payload []byte) { _ = topics.Publish(b.Context(), benchTopic, payload) })
		})
		b.Run(fmt.Sprintf("gossipsub/%d", subscribers), func(b *testing.B) {
			gossiped.measure(b, subscribers, func(payload []byte) { _ = out.Publish(b.Context(), payload) })
		})
	}
}
