package backend

import (
	"context"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/node/api/schema"
)

// What happens is told: who comes and goes, what is stored, whether all is well.
func TestEvents(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	next := r.listen(t)
	other := newHost(t)
	require.NoError(t, other.Connect(t.Context(), peer.AddrInfo{ID: r.Host.ID(), Addrs: r.Host.Addrs()}))
	came := next(schema.EventPeerCame)
	require.Equal(t, other.ID().String(), came.PeerID)
	require.NotEmpty(t, came.NodeID)
	require.Contains(t, came.Addr, "/ip4/127.0.0.1/udp/")
	require.WithinDuration(t, time.Now(), came.Time, patience)
	require.NoError(t, other.Close())
	require.Equal(t, other.ID().String(), next(schema.EventPeerLeft).PeerID)

	_, err := r.Put(t.Context(), []byte("k"), value(t, `{"a":1}`), false)
	require.NoError(t, err)
	require.Equal(t, map[string]uint64{"stored": 1}, next(schema.EventRecords).Counts)
	r.say(func() schema.Status {
		return schema.Status{Mode: "client", Problems: []string{"alone"}, Addrs: []string{"/a", "/b"}}
	})
	require.Equal(t, "alone", next(schema.EventProblem).Text)
	require.Equal(t, "client", next(schema.EventMode).State)
	require.Equal(t, "/a /b", next(schema.EventAddresses).Text)
	r.say(func() schema.Status { return schema.Status{Mode: "client"} })
	require.Equal(t, "alone", next(schema.EventProblemSolved).Text)
}

// A reader that does not read has so many waiting, and is told how many it has missed.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const missed = 7
	seen, dropped := 0, uint64(0)
	for e := range r.Events(ctx, func() {
		for range waitingEvents + missed {
			r.publish(schema.Event{Kind: schema.EventBan})
		}
	}) {
		if seen++; seen == 1 {
			r.publish(schema.Event{Kind: schema.EventUnban})
		}
		if dropped += e.Dropped; e.Kind == schema.EventUnban {
			break
		}
	}
	require.Equal(t, waitingEvents+1, seen)
	require.EqualValues(t, missed, dropped)
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	require.Empty(t, r.hub.readers)
	require.Nil(t, r.hub.before)
}

// However long it takes to look at the node, who connects is not held up by that.
func TestBusIsNotHeldUp(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	next := r.listen(t)
	looking, goOn := make(chan struct{}), make(chan struct{})
	r.say(func() schema.Status {
		select {
		case looking <- struct{}{}:
		default:
		}
		<-goOn
		return schema.Status{Mode: "server"}
	})
	t.Cleanup(func() { close(goOn) })
	<-looking
	emitter, err := r.Host.EventBus().Emitter(new(event.EvtPeerConnectednessChanged))
	require.NoError(t, err)
	defer emitter.Close()
	emitted := make(chan error, 1)
	go func() {
		for range 3 * waitingEvents {
			if err := emitter.Emit(event.EvtPeerConnectednessChanged{Peer: r.Host.ID(), Connectedness: network.NotConnected}); err != nil {
				emitted <- err
				return
			}
		}
		emitted <- nil
	}()
	select {
	case err := <-emitted:
		require.NoError(t, err)
	case <-time.After(patience):
		require.FailNow(t, "who connects waits for who looks at the node")
	}
	next(schema.EventPeerLeft)
}

// What is kept of the past does not grow: the oldest samples go, each has what happened in
// its time alone, and a counter that began anew is none below nothing.
func TestHistory(t *testing.T) {
	t.Parallel()
	var h history
	began := time.Now()
	const apart = sampleTime + 300*time.Microsecond // which the times that are shown do not say
	at := func(i int) time.Time { return began.Add(time.Duration(i) * apart) }
	shown := func(i int) time.Time { return at(i).UTC().Truncate(time.Millisecond) }
	for i := range maxSamples + 3 {
		h.enter(schema.Sample{Requests: uint64(10 * (i + 1)), Calls: uint64(max(0, 5-i)), Peers: i}, began, at(i+1))
	}
	all := h.all()
	require.Len(t, all, maxSamples)
	require.Equal(t, shown(4), all[0].Time)
	require.Equal(t, shown(maxSamples+3), all[maxSamples-1].Time)
	for i, s := range all {
		require.EqualValues(t, 10, s.Requests)
		require.Zero(t, s.Calls)
		require.Equal(t, apart.Seconds(), s.Seconds)
		require.Equal(t, i+3, s.Peers)
	}
	r := newRig(t)
	require.NotNil(t, r.History().Samples)
	_, err := r.Put(t.Context(), []byte("k"), value(t, `{"a":1}`), false)
	require.NoError(t, err)
	require.NoError(t, r.Publish(t.Context(), "a", []byte("b")))
	s := r.sample()
	require.EqualValues(t, 1, s.Stored)
	require.EqualValues(t, 1, s.Published)
	require.EqualValues(t, 1, s.Records)
}
