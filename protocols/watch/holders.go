package watch

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/pubsub"
)

const (
	openTime = 5 * time.Second
	// pingEvery keeps a stream open on which nothing changes, and shows that its other
	// end lives.
	pingEvery = proto.ServerIdle / 4
)

// holders are the nodes that tell of changes of a key.
type holders struct {
	of      *Watcher
	topic   string
	changed func()
	ctx     context.Context
	cancel  context.CancelFunc
	tasks   sync.WaitGroup
	telling atomic.Int64 // of them, how many have taken the subscription

	byPeer  map[peer.ID]*holder // of the goroutine that renews
	renewed time.Time
}

type holder struct {
	cancel context.CancelFunc
	ended  chan struct{}
}

func newHolders(ctx context.Context, w *Watcher, key []byte, changed func()) *holders {
	h := &holders{of: w, topic: pubsub.KeyTopic(key), changed: changed, byPeer: make(map[peer.ID]*holder)}
	h.ctx, h.cancel = context.WithCancel(ctx)
	return h
}

// here has this node tell of changes, which holds records too.
func (h *holders) here() {
	s, err := h.of.topics.Subscribe(h.ctx, h.topic)
	if err != nil {
		return
	}
	h.tasks.Go(func() {
		for range s.Messages() {
			h.changed()
		}
	})
}

// tell reports whether somebody tells of changes.
func (h *holders) tell() bool { return h.telling.Load() > 0 }

// renew has those of the nodes nearest to the key tell that do not: when one has ended,
// and when it is time to look which these are.
func (h *holders) renew(closest []routing.Contact) {
	for id, o := range h.byPeer {
		select {
		case <-o.ended:
			delete(h.byPeer, id)
		default:
		}
	}
	closest = closest[:min(len(closest), h.of.limits.Holders)]
	if len(h.byPeer) >= len(closest) && time.Since(h.renewed) < h.of.limits.RenewEvery {
		return
	}
	h.renewed = time.Now()
	near := make(map[peer.ID]bool)
	for _, c := range closest {
		near[c.Peer] = true
		if c.Peer == "" || h.byPeer[c.Peer] != nil {
			continue
		}
		ctx, cancel := context.WithCancel(h.ctx)
		o := &holder{cancel: cancel, ended: make(chan struct{})}
		h.byPeer[c.Peer] = o
		h.tasks.Go(func() {
			defer close(o.ended)
			defer cancel()
			h.listen(ctx, c)
		})
	}
	for id, o := range h.byPeer {
		if !near[id] {
			o.cancel()
		}
	}
}

// listen hears of changes from a node until its stream ends.
func (h *holders) listen(ctx context.Context, at routing.Contact) {
	opening, cancel := context.WithTimeout(ctx, openTime)
	session, err := h.of.service.Client().OpenSession(opening, at)
	cancel()
	if err != nil {
		return
	}
	defer session.Close()
	defer context.AfterFunc(ctx, func() { session.Reset(proto.ResetGone) })()
	if say(session, &wire.Subscribe{Topics: []string{h.topic}}) != nil || say(session, &wire.Ping{}) != nil {
		session.Reset(proto.ResetGone)
		return
	}
	h.tasks.Go(func() { // which writes nothing else
		again := time.NewTicker(pingEvery)
		defer again.Stop()
		for {
			select {
			case <-again.C:
				if say(session, &wire.Ping{}) != nil {
					session.Reset(proto.ResetGone)
					return
				}
			case <-ctx.Done():
				return
			}
		}
	})
	told := false
	for {
		_ = session.SetReadDeadline(time.Now().Add(2 * pingEvery)) // an error shows in Next
		f, err := session.Next()
		if err != nil {
			break
		}
		if !told {
			told = true
			h.telling.Add(1)
			h.changed() // what has changed since it was looked is not told
		}
		if f.Type == wire.TypePublish {
			h.changed()
		}
	}
	session.Reset(proto.ResetGone)
	if told {
		h.telling.Add(-1)
	}
	h.changed() // somebody else has to tell
}

func say(s *client.Session, m wire.Message) error {
	frame, err := framing.AppendFrame(nil, m)
	if err != nil {
		return err
	}
	if err := s.SetWriteDeadline(time.Now().Add(openTime)); err != nil {
		return err
	}
	_, err = s.Write(frame)
	return err
}

// close ends all of it, and waits.
func (h *holders) close() {
	h.cancel()
	h.tasks.Wait()
}
