package rpc

import (
	"encoding/binary"
	"encoding/hex"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/internal/fair"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
	"github.com/macula-mesh/macula-node/protocols/rpc/internal/outcome"
)

// provider is a stream that has been asked, or has registered procedures.
type provider struct {
	waiting map[*task]struct{} // what it has yet to answer
	line    *fair.Line         // of what it is asked
}

// waitKey tells the answers apart that are awaited of providers. Ids are counters, equal
// among those who ask. A client may answer on another of its streams than the one on which
// it was asked, which need not be the newest to it as well: what tells is the id under which
// it has CONNECTed, and where it comes from.
type waitKey struct {
	node, source string
	to           string // who asks, by the node id that the answer names; empty in a REPLY
	id           string
}

func (c *Calls) keyOf(p *server.Peer, to, id string) waitKey {
	node, _ := c.clients.NodeID(p)
	return waitKey{node, p.Session().Source(), to, id}
}

// askWith sends a provider a frame when it has its turn, and has the next answer with a key
// end a call, or the end of the stream that is asked.
func (c *Calls) askWith(t *task, asked *server.Peer, key waitKey, frame []byte) {
	c.mu.Lock()
	if t.over {
		c.mu.Unlock()
		return
	}
	known := c.providerOf(asked)
	earlier := c.waiting[key]
	c.waiting[key] = t
	line := c.providers[asked].line
	c.providers[asked].waiting[t] = struct{}{}
	work := &fair.Work{Payer: t.payer, Begin: func() { c.push(t, asked, frame) }, Refused: func() { c.giveWay(t) }}
	t.forget = func() {
		line.Leave(work)
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.waiting[key] == t {
			delete(c.waiting, key)
		}
		if p := c.providers[asked]; p != nil {
			delete(p.waiting, t)
		}
	}
	c.mu.Unlock()
	if !known {
		asked.OnEnd(func() { c.providerEnded(asked) })
	}
	if earlier != nil { // its id has been used again: who asked waits for it no longer
		c.finish(earlier, outcome.Of(outcome.Late))
	}
	line.Enter(work)
}

// providerOf sees to it that a stream is among the providers, and reports whether it was
// there; if not its end is to be told to providerEnded. c.mu is held.
func (c *Calls) providerOf(p *server.Peer) (known bool) {
	if c.providers[p] == nil {
		c.providers[p] = &provider{waiting: make(map[*task]struct{}), line: fair.NewLine(c.cfg.limits.Running, c.cfg.limits.Waiting)}
		return false
	}
	return true
}

// providerEnded ends what waits for a stream that has ended, and what it has registered.
func (c *Calls) providerEnded(peer *server.Peer) {
	c.mu.Lock()
	p := c.providers[peer]
	delete(c.providers, peer)
	c.mu.Unlock()
	for t := range p.waiting { // nobody adds to it any more
		c.finish(t, outcome.Of(outcome.Gone))
	}
	c.registry.End(peer)
}

// awaited returns the calls that are awaited of providers.
func (c *Calls) awaited() (all []*task) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.waiting {
		all = append(all, t)
	}
	return all
}

// take returns the call that an answer is for.
func (c *Calls) take(key waitKey) *task {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.waiting[key]
	if t == nil {
		c.count.stray.Add(1)
	}
	return t
}

// nextID returns an id of 16 bytes for what this node asks.
func (c *Calls) nextID() []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 8, 16), c.requests.Add(1))
}

// ask has a client answer a call: by CALL where it has registered the procedure, else by
// RPC_REQUEST.
func (c *Calls) ask(t *task, peer *server.Peer, registered bool) {
	var m wire.Message
	var key waitKey
	if registered {
		args, err := t.args.Value()
		if err != nil {
			c.finish(t, outcome.Failed(wire.CodeInvalidArgs, "Invalid parameter: args: %v", err))
			return
		}
		id := hex.EncodeToString(c.nextID()) // clients print it as a text
		key = c.keyOf(peer, "", id)
		m = &wire.Call{Procedure: t.procedure, Args: args, CallID: []byte(id)}
	} else {
		args, err := t.args.Text()
		if err != nil {
			c.finish(t, outcome.Failed(wire.CodeInvalidArgs, "Invalid parameter: args: %v", err))
			return
		}
		id := c.nextID()
		key = c.keyOf(peer, string(c.self), string(id))
		m = &wire.RPCRequest{
			Kind: wire.TextRPCRequest, RequestID: id, Procedure: t.procedure, Args: args,
			FromNode: c.self, TargetNode: t.target, Realm: c.handlers.Realm(),
			Timestamp: wire.Some(time.Now().UnixMilli()),
		}
	}
	frame, err := framing.AppendFrame(nil, m)
	if err != nil {
		c.finish(t, outcome.Failed(wire.CodeTooLarge, "%v", err))
		return
	}
	c.askWith(t, peer, key, frame)
}

// push sends a provider what it is asked.
func (c *Calls) push(t *task, peer *server.Peer, frame []byte) {
	switch err := peer.Push(frame); {
	case err == nil:
	case peer.Context().Err() != nil:
		c.finish(t, outcome.Of(outcome.Gone))
	default:
		c.finish(t, outcome.Of(outcome.NoRoom))
	}
}
