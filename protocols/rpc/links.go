package rpc

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/internal/fair"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/rpc/internal/outcome"
	"github.com/macula-mesh/macula-node/protocols/rpc/internal/payload"
)

const (
	// maxLinks is how many peers are linked at a time.
	maxLinks = 1024
	// maxOnLink is how many calls are under way on a link at a time: half as many as a stream
	// may have answers outstanding, as those that are late here are for a moment longer there.
	maxOnLink = 128
	// linkIdle is after how long a link is closed on which nothing is called.
	linkIdle = 30 * time.Second
	// linkWrite is how long a peer may take to take a frame.
	linkWrite = 5 * time.Second
	// passedHops is how many nodes a call may come over: it is passed on once.
	passedHops = 2
)

// links are the streams on which calls are passed on to other nodes, one to each.
type links struct {
	calls *Calls

	mu     sync.Mutex
	closed bool
	byPeer map[peer.ID]*link
	places *fair.Commons[*link] // by who has calls under way there
}

// link is a stream on which this node has CONNECTed. Answers come in any order.
type link struct {
	of     *links
	peer   peer.ID
	opened chan struct{} // closed when session or err is set
	err    error
	line   *fair.Line // of calls

	session *client.Session
	writing sync.Mutex

	mu      sync.Mutex
	ended   bool
	waiting map[string]*task // by call id
	idle    *time.Timer
}

var (
	errTooManyLinks = errors.New("calls are passed on to too many nodes already")
	errLinkEnded    = errors.New("the stream has ended")
)

func newLinks(c *Calls) *links {
	return &links{calls: c, byPeer: make(map[peer.ID]*link), places: fair.NewCommons[*link](maxLinks)}
}

// close ends all links, and what waits for them.
func (l *links) close() {
	l.mu.Lock()
	l.closed = true
	var all []*link
	for _, k := range l.byPeer {
		all = append(all, k)
	}
	l.mu.Unlock()
	for _, k := range all {
		k.end(proto.ResetShutdown)
	}
}

// ask passes a call on to a peer, for a node. The error says why it was not sent;
// once it is, the link answers the call.
func (l *links) ask(ctx context.Context, t *task, at peer.AddrInfo, node []byte) error {
	for again := true; ; again = false {
		k, fresh, err := l.to(ctx, at, t.payer)
		if err != nil {
			return err
		}
		err = k.send(t, node)
		if !errors.Is(err, errLinkEnded) || fresh || !again {
			return err
		}
	}
}

// to returns the link to a peer for a payer to use, until it leaves; it is opened where there
// is none. Of too many one gives way of who uses most that nobody else does.
func (l *links) to(ctx context.Context, at peer.AddrInfo, by fair.Payer) (k *link, fresh bool, err error) {
	var gone *link
	l.mu.Lock()
	switch k = l.byPeer[at.ID]; {
	case l.closed:
		err = ErrClosed
	case k != nil:
		l.places.Use(by, k)
	default:
		fresh = true
		limits := &l.calls.cfg.limits
		k = &link{of: l, peer: at.ID, opened: make(chan struct{}), waiting: make(map[string]*task), line: fair.NewLine(maxOnLink, limits.Waiting)}
		switch gone, _ = l.places.Use(by, k); {
		case gone == k:
			gone, err = nil, errTooManyLinks
		case l.calls.spawn(func() { k.open(at) }):
			l.byPeer[at.ID] = k
		default:
			l.places.Remove(k)
			err = ErrClosed
		}
		if gone != nil {
			delete(l.byPeer, gone.peer) // nobody else may begin to use it
		}
	}
	l.mu.Unlock()
	if gone != nil {
		gone.end(proto.ResetGone)
	}
	if err != nil {
		return nil, false, err
	}
	select {
	case <-k.opened:
		err = k.err
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		k.leave(by)
	}
	return k, fresh, err
}

// leave ends a payer's use of a link.
func (k *link) leave(by fair.Payer) {
	k.of.mu.Lock()
	defer k.of.mu.Unlock()
	k.of.places.Leave(by, k)
}

// open opens the stream, and reads from it until it ends.
func (k *link) open(at peer.AddrInfo) {
	c := k.of.calls
	ctx, cancel := context.WithTimeout(c.ctx, c.cfg.limits.Time)
	session, err := c.service.Client().OpenSession(ctx, routing.Contact{Peer: at.ID, Addrs: at.Addrs})
	cancel()
	if err != nil {
		k.err = err
		k.remove()
		close(k.opened)
		return
	}
	k.session = session
	k.idle = time.AfterFunc(linkIdle, k.endIfIdle)
	close(k.opened)
	if c.ctx.Err() != nil || k.isRemoved() {
		k.end(proto.ResetShutdown) // close has come before it was open, or it gave way
	}
	k.end(k.read())
	session.Close()
}

func (k *link) remove() {
	k.of.mu.Lock()
	defer k.of.mu.Unlock()
	if k.of.byPeer[k.peer] == k {
		delete(k.of.byPeer, k.peer)
		k.of.places.Remove(k)
	}
}

// isRemoved reports whether another link may have its place.
func (k *link) isRemoved() bool {
	k.of.mu.Lock()
	defer k.of.mu.Unlock()
	return k.of.byPeer[k.peer] != k
}

// read hands answers to who waits for them. It returns with what the stream is to be
// reset.
func (k *link) read() proto.ResetCode {
	for {
		f, err := k.session.Next()
		if err != nil {
			return proto.ResetCodeOf(err)
		}
		if f.Type != wire.TypeRPCRoute {
			continue
		}
		var m wire.RPCRoute
		var reply wire.Reply
		if _, err := payload.Broken(m.Decode(f.Payload)); err != nil {
			return proto.ResetCodeOf(err)
		}
		if m.PayloadType == wire.PayloadReply {
			wrong := reply.Decode(m.Payload)
			k.answer(&reply, wrong)
		}
	}
}

// answer ends the call that a reply is for.
func (k *link) answer(reply *wire.Reply, wrong error) {
	c := k.of.calls
	k.mu.Lock()
	t := k.waiting[string(reply.CallID)]
	delete(k.waiting, string(reply.CallID))
	k.mu.Unlock()
	switch {
	case t == nil:
		c.count.stray.Add(1)
	case reply.Error != nil:
		c.answered(t, outcome.Of(&wire.CallError{Code: reply.Error.Code, Message: outcome.Shorten(reply.Error.Message)}))
	case wrong != nil:
		c.finish(t, outcome.Failed(wire.CodeBadReply, "The node's answer can not be read: %v", wrong))
	default:
		c.finish(t, outcome.Outcome{Result: payload.OfText(append(wire.Raw(nil), reply.Result...))})
	}
}

// send asks on the link, which its payer leaves when the call is over.
func (k *link) send(t *task, node []byte) error {
	c := k.of.calls
	args, err := t.args.Routed()
	if err != nil {
		k.leave(t.payer)
		c.finish(t, outcome.Failed(wire.CodeInvalidArgs, "Invalid parameter: args: %v", err))
		return nil
	}
	id := c.nextID()
	call := wire.Call{Procedure: t.procedure, Args: args, CallID: id, Realm: c.handlers.Realm(),
		Timeout: wire.Some(max(time.Until(t.until).Milliseconds(), 1))}
	from := t.from
	if len(from) == 0 {
		from = c.self
	}
	frame, err := framing.AppendFrame(nil, &wire.RPCRoute{
		Route:       wire.Route{Destination: node, Source: from, HopCount: 1, MaxHops: passedHops, Payload: call.AppendPayload(nil)},
		PayloadType: wire.PayloadCall,
	})
	if err != nil {
		k.leave(t.payer)
		c.finish(t, outcome.Failed(wire.CodeTooLarge, "%v", err))
		return nil
	}
	turn, over := make(chan struct{}), make(chan struct{})
	work := &fair.Work{Payer: t.payer, Begin: func() { close(turn) }, Refused: func() { c.giveWay(t) }}
	err = k.expect(t, string(id), func(answered bool) {
		k.leave(t.payer)
		close(over)
		select {
		case <-turn:
			if !answered { // which the other node knows a moment later
				time.AfterFunc(slotGrace, func() { k.line.Leave(work) })
				return
			}
		default:
		}
		k.line.Leave(work)
	})
	if err != nil {
		k.leave(t.payer)
		return err
	}
	k.line.Enter(work)
	select {
	case <-turn:
	case <-over:
		return nil
	}
	k.writing.Lock()
	_ = k.session.SetWriteDeadline(time.Now().Add(linkWrite))
	_, err = k.session.Write(frame)
	k.writing.Unlock()
	if err != nil { // a part may have left: who waits is told
		k.end(proto.ResetTimeout)
	}
	c.count.passedOn.Add(1)
	c.cfg.tracer.PassedOn()
	return nil
}

// expect notes that a call is to be answered on the link, and is told when it is over.
func (k *link) expect(t *task, id string, over func(answered bool)) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ended {
		return errLinkEnded
	}
	waits := k.of.calls.awaits(t, func() {
		k.mu.Lock()
		_, waited := k.waiting[id]
		delete(k.waiting, id)
		k.mu.Unlock()
		over(!waited)
	})
	if !waits {
		over(true)
		return nil
	}
	k.waiting[id] = t
	k.idle.Reset(linkIdle)
	return nil
}

// endIfIdle ends a link on which nothing is called.
func (k *link) endIfIdle() {
	k.mu.Lock()
	busy := len(k.waiting) > 0
	if busy {
		k.idle.Reset(linkIdle)
	}
	k.mu.Unlock()
	if !busy {
		k.end(proto.ResetGone)
	}
}

// end resets the stream, and answers what waits for it. An ended link can be ended again.
func (k *link) end(code proto.ResetCode) {
	k.remove()
	select {
	case <-k.opened:
		if k.session == nil {
			return
		}
	default:
		return // opening ends by itself
	}
	k.mu.Lock()
	already, waiting := k.ended, k.waiting
	k.ended, k.waiting = true, make(map[string]*task)
	k.idle.Stop()
	k.mu.Unlock()
	if already {
		return
	}
	k.session.Reset(code)
	for _, t := range waiting {
		k.of.calls.finish(t, outcome.Of(outcome.Gone))
	}
}
