package dhttest

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// Script serves the protocol on h by hand: serve gets each stream, counted from
// 1, and the frames on it.
func Script(t *testing.T, h host.Host, serve func(n int, s *Scripted)) *atomic.Int32 {
	t.Helper()
	opened := new(atomic.Int32)
	h.SetStreamHandler(proto.ProtocolID, func(s network.Stream) {
		serve(int(opened.Add(1)), &Scripted{Stream: s, In: framing.NewReader(s)})
	})
	return opened
}

// Scripted is a stream of Script.
type Scripted struct {
	network.Stream

	// In reads what comes.
	In *framing.Reader
}

// Next returns the next message, nil at the end.
func (s *Scripted) Next() wire.Message {
	f, err := s.In.Next()
	if err != nil {
		return nil
	}
	f.Payload = append([]byte(nil), f.Payload...)
	m, _ := f.Decode()
	return m
}

// Reply writes a message.
func (s *Scripted) Reply(m wire.Message) {
	b, _ := framing.AppendFrame(nil, m)
	s.Write(b)
}

// ResetBy waits for the client to reset the stream and returns its code.
func (s *Scripted) ResetBy() (proto.ResetCode, error) {
	for {
		if _, err := s.In.Next(); err != nil {
			reset, ok := err.(*network.StreamError)
			if !ok || !reset.Remote {
				return 0, fmt.Errorf("not reset by the client: %w", err)
			}
			return proto.ResetCode(reset.ErrorCode), nil
		}
	}
}

// Answer serves a stream as a peer would that has nothing stored.
func (s *Scripted) Answer() {
	for m := s.Next(); m != nil; m = s.Next() {
		switch m := m.(type) {
		case *wire.Ping:
			s.Reply(&wire.Pong{Timestamp: m.Timestamp})
		case *wire.FindValue:
			s.Reply(&wire.FindValueReply{})
		case *wire.FindNode:
			s.Reply(&wire.FindNodeReply{})
		case *wire.Call:
			s.Reply(&wire.Reply{CallID: m.CallID, Result: StoreOK})
		}
	}
	s.Close()
}

// StoreOK is the result of a _dht.store that was taken.
var StoreOK = wire.RawMap(wire.Pair{Key: "status", Value: wire.RawText("ok")})
