package client

import (
	"bytes"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// request is one frame on its way and what comes of it.
type request struct {
	typ   wire.Type
	frame []byte
	fresh time.Time      // an older stream is not to be used
	shard int            // the one whose stream it has to take; -1 for any stream
	addrs []ma.Multiaddr // where its peer is
	since time.Time      // when a stream took it
	done  chan outcome   // takes one, whether or not anybody still waits
}

func newRequest() any { return &request{done: make(chan outcome, 1)} }

// release keeps a request, whose outcome was taken, to be used again: nobody
// else holds it any more.
func (c *Client) release(r *request) {
	if cap(r.frame) <= maxKept {
		r.addrs = nil
		c.requests.Put(r)
	}
}

// keepBuffer is the longest buffer of frames to be written that is kept for the
// next ones, in bytes.
const keepBuffer = 32 << 10

// maxKept is the longest request whose memory is kept, in bytes.
const maxKept = 4 << 10

type outcome struct {
	frame framing.Frame
	err   error
}

// pipe is one stream with the requests on it, in order. A goroutine writes what
// has gathered, another one reads the replies.
type pipe struct {
	lane   *lane
	stream network.Stream
	opened time.Time
	wake   chan struct{} // the writer has something to do
	ended  chan struct{} // closed with the pipe

	requests atomic.Int32 // len(waiting) + len(written), to be read without mu
	over     atomic.Bool  // err is set

	mu      sync.Mutex
	out     []byte     // frames to be written
	written []*request // of them, those that have no reply
	waiting []*request // asked, in order; the first is the next to be answered
	used    time.Time  // the last request or reply
	err     error      // why the pipe takes no more
}

func newPipe(l *lane, s network.Stream) *pipe {
	now := time.Now()
	return &pipe{
		lane:   l,
		stream: s,
		opened: now,
		wake:   make(chan struct{}, 1),
		ended:  make(chan struct{}),
		used:   now,
	}
}

// load returns how many requests are on the pipe, and whether it has ended.
func (p *pipe) load() (requests int, ended bool) {
	return int(p.requests.Load()), p.over.Load()
}

// enqueue takes a request and reports whether it did: a pipe that has ended or
// is full takes none.
func (p *pipe) enqueue(r *request) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	full := r.shard < 0 && int(p.requests.Load()) >= p.lane.client.cfg.limits.Pipeline
	if p.err != nil || full { // what has to stay on a stream is limited by the lane's slots
		return false
	}
	p.requests.Add(1)
	r.since = time.Now()
	p.used = r.since
	p.out = append(p.out, r.frame...)
	if _, asks := r.typ.Reply(); asks {
		p.waiting = append(p.waiting, r)
	} else {
		p.written = append(p.written, r)
	}
	select {
	case p.wake <- struct{}{}:
	default:
	}
	return true
}

// finish hands a request its outcome and frees its slot.
func (p *pipe) finish(r *request, o outcome) {
	r.done <- o
	<-p.lane.slots
}

// write writes what gathers, and watches over the time: of the first reply, and
// of an idle stream.
func (p *pipe) write() {
	defer p.lane.client.tasks.Done()
	timer := time.NewTimer(p.lane.client.cfg.limits.Timeout)
	defer timer.Stop()
	var spare []byte
	for {
		select {
		case <-p.wake:
			runtime.Gosched() // let those that are ready to ask share the Write
		case <-timer.C:
		case <-p.ended:
			return
		}
		p.mu.Lock()
		out, written := p.out, p.written
		p.out, p.written = spare[:0], nil
		p.requests.Add(-int32(len(written)))
		p.mu.Unlock()
		if len(out) > 0 {
			p.stream.SetWriteDeadline(time.Now().Add(p.lane.client.cfg.limits.Timeout))
			_, err := p.stream.Write(out)
			for _, r := range written {
				o := outcome{}
				if err != nil {
					o.err = streamError(err)
				}
				p.finish(r, o)
			}
			if err != nil {
				p.end(streamError(err), proto.ResetTimeout)
				return
			}
		}
		spare = nil
		if cap(out) <= keepBuffer {
			spare = out
		}
		next, ok := p.checkTime()
		if !ok {
			return
		}
		timer.Reset(next)
	}
}

// checkTime ends the pipe whose reply is overdue or that is idle, else returns
// when to look again.
func (p *pipe) checkTime() (next time.Duration, ok bool) {
	timeout := p.lane.client.cfg.limits.Timeout
	p.mu.Lock()
	now := time.Now()
	if len(p.waiting) > 0 {
		left := timeout - now.Sub(p.waiting[0].since)
		p.mu.Unlock()
		if left <= 0 {
			p.end(fmt.Errorf("%w: %w: no reply within %v", ErrBroken, proto.ErrUnreachable, timeout), proto.ResetTimeout)
			return 0, false
		}
		return left, true
	}
	left := proto.ClientIdle - now.Sub(p.used)
	if left > 0 || len(p.out) > 0 {
		p.mu.Unlock()
		return max(left, time.Millisecond), true
	}
	p.err = errIdle // no request can get in between
	p.over.Store(true)
	p.mu.Unlock()
	p.end(errIdle, proto.ResetGone)
	return 0, false
}

// errRenewed is the end of streams over a connection that is older than the peer's
// last CONNECT.
var errRenewed = fmt.Errorf("%w: %w: the peer has connected anew", ErrBroken, proto.ErrUnreachable)

var errIdle = fmt.Errorf("%w: idle", ErrBroken)

// read hands each reply to the request that has waited longest.
func (p *pipe) read() {
	defer p.lane.client.tasks.Done()
	in := framing.NewReader(p.stream, framing.WithMemory(p.stream.Scope()))
	defer in.Close()
	for {
		f, err := in.Next()
		if err != nil {
			p.end(streamError(err), proto.ResetCodeOf(err))
			return
		}
		p.mu.Lock()
		var r *request
		if len(p.waiting) > 0 {
			r = p.waiting[0]
		}
		if r == nil || !f.Type.Answers(r.typ) {
			p.mu.Unlock()
			p.end(fmt.Errorf("%w: %w", ErrBroken, &proto.RemoteError{
				Code: wire.CodeWrongReply, Message: fmt.Sprintf("%s came out of turn", f.Type)}), proto.ResetWrongReply)
			return
		}
		p.waiting[0] = nil
		p.waiting = p.waiting[1:]
		p.requests.Add(-1)
		if len(p.waiting) == 0 {
			p.used = time.Now()
		}
		p.mu.Unlock()
		f.Payload = bytes.Clone(f.Payload) // the reader's memory is used again
		p.finish(r, outcome{frame: f})
	}
}

// end takes the pipe out of use, once, and fails the requests on it. An idle
// stream is closed in order, any other one reset.
func (p *pipe) end(err error, code proto.ResetCode) {
	p.mu.Lock()
	select {
	case <-p.ended:
		p.mu.Unlock()
		return
	default:
	}
	close(p.ended)
	p.err = err
	p.over.Store(true)
	failed := append(p.waiting, p.written...)
	p.waiting, p.written, p.out = nil, nil, nil
	p.mu.Unlock()

	if err == errIdle {
		p.stream.Close()
	} else {
		p.stream.ResetWithError(network.StreamErrorCode(code))
	}
	p.lane.remove(p)
	for _, r := range failed {
		p.finish(r, outcome{err: err})
	}
}
