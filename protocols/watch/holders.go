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

	// Of the goroutine that renews.
	byPeer  map[peer.ID]*holder
	renewed time.Time
	changes time.Time // when a lookup last found one
	own     *credit   // of this node
}

// holder is a node that is to tell. It is remembered while it is near, and until it is as
// credible as any other.
type holder struct {
	credit *credit
	cancel context.CancelFunc
	ended  chan struct{}
}

func (o *holder) hasEnded() bool {
	select {
	case <-o.ended:
		return true
	default:
		return false
	}
}

func newHolders(ctx context.Context, w *Watcher, key []byte, changed func()) *holders {
	h := &holders{of: w, topic: pubsub.KeyTopic(key), changed: changed, byPeer: make(map[peer.ID]*holder),
		changes: time.Now(), own: newCredit(&w.limits)}
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
			if h.own.tell(h.ctx) {
				h.changed()
			}
		}
	})
}

// tell reports whether somebody tells of changes.
func (h *holders) tell() bool { return h.telling.Load() > 0 }

// looked is told of a lookup: which nodes are the nearest to the key, and whether it found
// a change, be it a renewal. It has those of them tell that do not: when one has ended, and
// when it is time to look which these are.
func (h *holders) looked(closest []routing.Contact, change bool) {
	now := time.Now()
	if change {
		h.changes = now
	}
	vain := now.Sub(h.changes) > echoFor
	h.own.looked(vain)
	running := 0
	for _, o := range h.byPeer {
		if o.credit.looked(vain); !o.hasEnded() {
			running++
		}
	}
	closest = closest[:min(len(closest), h.of.limits.Holders)]
	if running >= len(closest) && now.Sub(h.renewed) < h.of.limits.RenewEvery {
		return
	}
	h.renewed = now
	near := make(map[peer.ID]bool)
	for _, c := range closest {
		near[c.Peer] = true
		o := h.byPeer[c.Peer]
		switch {
		case c.Peer == "", o != nil && !o.hasEnded():
			continue
		case o == nil:
			o = &holder{credit: newCredit(&h.of.limits)}
			h.byPeer[c.Peer] = o
		}
		ctx, cancel := context.WithCancel(h.ctx)
		ended := make(chan struct{})
		o.cancel, o.ended = cancel, ended
		h.tasks.Go(func() {
			defer close(ended)
			defer cancel()
			h.listen(ctx, c, o.credit)
		})
	}
	for id, o := range h.byPeer {
		if near[id] {
			continue
		}
		if o.cancel(); o.hasEnded() && o.credit.isWhole() {
			delete(h.byPeer, id)
		}
	}
}

// listen hears of changes from a node until its stream ends, which is one as well: somebody
// else has to tell.
func (h *holders) listen(ctx context.Context, at routing.Contact, by *credit) {
	tell := func() {
		if by.tell(ctx) {
			h.changed()
		}
	}
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
			tell() // what has changed since it was looked is not told
		}
		if f.Type == wire.TypePublish {
			tell()
		}
	}
	session.Reset(proto.ResetGone)
	if told {
		h.telling.Add(-1)
	}
	tell()
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
