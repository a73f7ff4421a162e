package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// Stream is one bidirectional stream, of libp2p or of raw QUIC.
type Stream interface {
	io.Reader
	io.Writer
	// Close ends both directions in order: what was written still arrives.
	Close() error
	// Reset ends both directions at once and tells the other end why.
	Reset(proto.ResetCode)
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// HostStream is a libp2p stream as Serve takes it.
type HostStream struct{ network.Stream }

// Reset ends both directions at once.
func (s HostStream) Reset(code proto.ResetCode) { s.ResetWithError(network.StreamErrorCode(code)) }

// flushAt is how much of replies is gathered while more requests are at hand.
const flushAt = 32 << 10

// forever is the deadline that never comes, as streams have it.
var forever time.Time

// Serve answers the frames of one stream, one after the other, until the peer
// ends it, breaks the framing, keeps silent for too long, or ctx ends; the
// stream is closed or reset then. The returned error says why it was reset, nil
// where the peer closed it between two frames.
func (h *Handlers) Serve(ctx context.Context, stream Stream, s *Session, opts ...wire.ReaderOption) error {
	stop := context.AfterFunc(ctx, func() { stream.Reset(proto.ResetShutdown) })
	defer stop()

	c := &serving{Handlers: h, Session: s, stream: stream, from: s.origin(), out: wire.NewWriter(stream)}
	c.in = wire.NewReader(stream, append(opts, wire.BeforeRead(c.setReadDeadline))...)
	defer c.in.Close()

	err := c.loop(ctx)
	if err == nil || errors.Is(err, errTurnedAway) {
		stream.Close()
	} else {
		code := proto.ResetCodeOf(err)
		if ctx.Err() != nil {
			code = proto.ResetShutdown
		}
		h.count.resets[code].Add(1)
		stream.Reset(code)
	}
	if err != nil {
		return fmt.Errorf("macula stream of %s: %w", s.Source, err)
	}
	return nil
}

// errTurnedAway ends a stream after its DISCONNECT.
var errTurnedAway = errors.New("turned away")

// serving is the state of one stream.
type serving struct {
	*Handlers
	*Session

	stream    Stream
	in        *wire.Reader
	out       *wire.Writer
	from      Origin
	connected bool            // a CONNECT was answered
	named     map[string]bool // the gateways that were listed since, by gatewayNames
	midFrame  bool            // the deadline of the current frame is set

	findValue wire.FindValue // reused, as they are nearly all of the traffic
	found     wire.FindValueReply
}

// setReadDeadline gives a frame FrameTimeout from its first byte, and a quiet
// stream the dialect's idle time.
func (c *serving) setReadDeadline(midFrame bool) {
	if midFrame && c.midFrame {
		return
	}
	c.midFrame = midFrame
	deadline := time.Now().Add(c.Dialect.Idle)
	switch {
	case midFrame:
		deadline = time.Now().Add(proto.FrameTimeout)
	case c.Dialect.Idle == 0, c.connected && c.Dialect.KeepConnected:
		deadline = forever
	}
	c.stream.SetReadDeadline(deadline) // an error shows in the Read that follows
}

func (c *serving) loop(ctx context.Context) error {
	for {
		f, err := c.in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			c.midFrame = false // what is behind it is another frame
			c.count.frame(f.Type)
			err = c.handle(ctx, f)
		}
		if err != nil {
			c.flush() // what was asked before is still answered, if it can be
			return err
		}
		if c.out.Buffered() >= flushAt || !c.in.Ready() {
			if err := c.flush(); err != nil {
				return err
			}
		}
	}
}

func (c *serving) flush() error {
	if c.out.Buffered() == 0 {
		return nil
	}
	c.stream.SetWriteDeadline(time.Now().Add(proto.FrameTimeout))
	return c.out.Flush()
}

// handle takes one frame. An error ends the stream.
func (c *serving) handle(ctx context.Context, f wire.Frame) error {
	allowed := c.Budget == nil || c.Budget.Allow()
	if !allowed {
		c.count.busy.Add(1)
	}
	switch f.Type {
	case wire.TypeFindValue:
		return c.handleFindValue(f.Payload, allowed)
	case wire.TypeFindNode:
		return c.handleFindNode(f.Payload, allowed)
	case wire.TypeCall:
		return c.handleCall(f.Payload, allowed)
	}
	if !allowed {
		return proto.ErrOverBudget
	}
	switch f.Type {
	case wire.TypeStore:
		return c.handleStore(f.Payload)
	case wire.TypePing:
		return c.handlePing(f.Payload)
	case wire.TypeConnect:
		return c.handleConnect(ctx, f.Payload)
	case wire.TypeNATProbe:
		return c.handleNATProbe(f.Payload)
	case wire.TypeRPCRequest:
		return c.handleRPCRequest(f.Payload)
	}
	if !f.Type.Known() {
		return nil // its payload is nobody's concern
	}
	if err := f.Check(); err != nil {
		return err
	}
	if c.Untouched != nil {
		c.Untouched(f)
	}
	return nil
}

// broken returns err unless it is about a field, which the caller answers.
func broken(err error) (field *wire.FieldError, fatal error) {
	if field, ok := errors.AsType[*wire.FieldError](err); ok {
		return field, nil
	}
	return nil, err
}

func (c *serving) handleFindValue(payload []byte, allowed bool) error {
	field, err := broken(c.findValue.Decode(payload))
	switch {
	case err != nil:
		return err
	case !allowed:
		return c.out.Append(&wire.FindValueReply{Reason: wire.ReasonBusy})
	case field == nil:
		limit := proto.MaxFindValueReply
		if c.Dialect.FirstPacket > 0 && !c.connected {
			limit = c.Dialect.FirstPacket
		}
		c.Handlers.findValue(&c.found, c.findValue.Key, c.Dialect, limit)
		err := c.out.Append(&c.found)
		clear(c.found.Values) // a quiet stream keeps no records alive
		return err
	case errors.Is(field, wire.ErrMissingField):
		return c.out.Append(&wire.FindValueReply{Reason: wire.ReasonMissingKey})
	default:
		return c.out.Append(&wire.FindValueReply{Reason: wire.ReasonInvalidKey})
	}
}

func (c *serving) handleFindNode(payload []byte, allowed bool) error {
	var m wire.FindNode
	field, err := broken(m.Decode(payload))
	switch {
	case err != nil:
		return err
	case !allowed:
		return c.out.Append(&wire.FindNodeReply{Reason: wire.ReasonBusy})
	case field == nil:
		return c.out.Append(c.HandleFindNode(&m, c.Dialect))
	case errors.Is(field, wire.ErrMissingField):
		return c.out.Append(&wire.FindNodeReply{Reason: wire.ReasonMissingTarget})
	default:
		return c.out.Append(&wire.FindNodeReply{Reason: wire.ReasonInvalidTarget})
	}
}

func (c *serving) handleStore(payload []byte) error {
	var m wire.Store
	field, err := broken(m.Decode(payload))
	switch {
	case err != nil:
		return err
	case field != nil:
		c.count.dropped.Add(1)
	default:
		c.HandleStore(&m, c.from, c.Dialect)
	}
	return nil
}

func (c *serving) handlePing(payload []byte) error {
	var m wire.Ping
	if _, err := broken(m.Decode(payload)); err != nil {
		return err
	}
	now := time.Now().UnixMilli()
	return c.out.Append(&wire.Pong{
		Timestamp:  wire.Some(m.Timestamp.Or(now)),
		ServerTime: wire.Some(now),
	})
}

func (c *serving) handleConnect(ctx context.Context, payload []byte) error {
	var m wire.Connect
	field, err := broken(m.Decode(payload))
	if err != nil {
		return err
	}
	if why := c.admit(ctx, &m, field); why != nil {
		if err := c.out.Append(why); err != nil {
			return err
		}
		if err := c.flush(); err != nil {
			return err
		}
		return fmt.Errorf("%w: %s: %s", errTurnedAway, why.Reason, why.Message)
	}
	c.connected = true
	c.neverName(m.NodeID, m.Endpoint)
	now := time.Now().UnixMilli()
	pong := &wire.Pong{
		Timestamp:  wire.Some(now),
		ServerTime: wire.Some(now),
		NodeID:     c.nodeID,
		Endpoint:   c.cfg.endpoint(),
	}
	if c.Dialect.Extended {
		pong.RealmID = c.cfg.realm
		pong.Addrs = routing.EncodeAddrs(c.cfg.addrs())
	}
	return c.out.Append(pong)
}

// Reasons of a DISCONNECT.
const (
	ReasonRealm     = "realm_mismatch"
	ReasonNodeID    = "node_id_mismatch"
	ReasonMalformed = "invalid_connect"
)

// admit returns nil, or why the peer is turned away.
func (c *serving) admit(ctx context.Context, m *wire.Connect, field *wire.FieldError) *wire.Disconnect {
	switch {
	case m.RealmID != c.cfg.realm:
		return &wire.Disconnect{Reason: ReasonRealm,
			Message: fmt.Sprintf("This node serves the realm %q, not %q", c.cfg.realm, m.RealmID)}
	case field != nil && m.NodeID == nil:
		return &wire.Disconnect{Reason: ReasonMalformed, Message: field.Error()}
	case c.Admit == nil:
		return nil
	}
	return c.Admit(ctx, m)
}

func (c *serving) handleNATProbe(payload []byte) error {
	var m wire.NATProbe
	if _, err := broken(m.Decode(payload)); err != nil {
		return err
	}
	reply := &wire.NATProbeReply{
		NodeID:     c.nodeID,
		RequestID:  orUndefined(m.RequestID),
		ServerTime: wire.Some(time.Now().UnixMilli()),
	}
	if c.Remote.IsValid() {
		reply.ReflexiveIP = c.Remote.Addr().Unmap().WithZone("").String()
		reply.ReflexivePort = int64(c.Remote.Port())
	}
	return c.out.Append(reply)
}

func (c *serving) handleRPCRequest(payload []byte) error {
	var m wire.RPCRequest
	if _, err := broken(m.Decode(payload)); err != nil {
		return err
	}
	return c.out.Append(&wire.RPCReply{
		RequestID: orUndefined(m.RequestID),
		FromNode:  c.nodeID,
		Error:     "rpc_handler_not_available",
		Timestamp: wire.Some(time.Now().UnixMilli()),
	})
}

// orUndefined gives the id back, or what the reference says where there is
// none.
func orUndefined(id []byte) []byte {
	if id == nil {
		return []byte("undefined")
	}
	return id
}

func (c *serving) handleCall(payload []byte, allowed bool) error {
	var m wire.Call
	field, err := broken(m.Decode(payload))
	if err != nil {
		return err
	}
	reply := &wire.Reply{CallID: orUndefined(m.CallID)}
	switch {
	case !allowed:
		reply.Error = overBudget
	case field != nil && field.Field == "procedure":
		reply.Error = invalidArgs(field)
	case m.Procedure == wire.ProcedureStore:
		if reply.Error = c.callStore(m.Args); reply.Error == nil {
			reply.Result = storeOK
		}
	case m.Procedure == wire.ProcedureListGateways && !c.afford(listGatewaysCost):
		reply.Error = overBudget
	case m.Procedure == wire.ProcedureListGateways:
		reply.Result = c.listGateways().Raw()
	default:
		reply.Error = &wire.CallError{
			Code:    wire.CodeBootstrapOnly,
			Message: "Gateway is bootstrap-only. Discover service via DHT and call peer directly",
		}
	}
	return c.out.Append(reply)
}

var overBudget = &wire.CallError{Code: wire.CodeBusy, Message: "Over this peer's budget, ask more slowly"}

// listGatewaysCost is how many frames the list of gateways counts as, beside
// its own, in the peer's budget: it looks at up to a thousand records.
const listGatewaysCost = 100

// afford takes more of the peer's budget than the frame itself did.
func (c *serving) afford(frames int) bool {
	if c.Budget == nil || c.Budget.AllowN(time.Now(), frames) {
		return true
	}
	c.count.busy.Add(1)
	return false
}

var storeOK = wire.RawMap(wire.Pair{Key: "status", Value: wire.RawText("ok")})

func (c *serving) callStore(raw wire.Raw) *wire.CallError {
	var args wire.StoreArgs
	err := args.Decode(raw)
	if field, fatal := broken(err); fatal != nil {
		return &wire.CallError{Code: wire.CodeInvalidArgs, Message: "Invalid parameter: args: " + fatal.Error()}
	} else if field != nil {
		return invalidArgs(field)
	}
	expiresIn := time.Duration(0)
	if left := args.ExpiresIn; left.Set {
		if left.V <= 0 {
			return &wire.CallError{Code: wire.CodeInvalidArgs,
				Message: fmt.Sprintf("Invalid parameter: expires_in: %d is not a positive number of seconds", left.V)}
		}
		expiresIn = time.Duration(min(left.V, math.MaxInt64/int64(time.Second))) * time.Second
	}
	if err := c.store(args.Key, args.Value, expiresIn, c.from, c.Dialect); err != nil {
		c.count.dropped.Add(1)
		return storeError(err)
	}
	return nil
}

func invalidArgs(field *wire.FieldError) *wire.CallError {
	e := &wire.CallError{Code: wire.CodeInvalidArgs}
	if errors.Is(field, wire.ErrMissingField) {
		e.Message = "Missing required parameter: " + field.Field
	} else {
		e.Message = "Invalid parameter: " + field.Field + ": " + field.Detail
	}
	return e
}
