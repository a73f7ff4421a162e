package server

import (
	"errors"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
)

// Accept answers the CONNECT that is being handled with a PONG: its peer has
// CONNECTed, under the node id as sent. Where that keeps the stream
// ([Dialect.KeepConnected]) it is listed in [Mux.Clients] from here on. An error is
// for the handler to return.
func (p *Peer) Accept(nodeID []byte, pong *wire.Pong) error {
	p.keepConnected()
	p.connected.Store(true)
	p.refused = nil
	if err := p.Reply(pong); err != nil {
		return err
	}
	if p.kept { // now that whatever is pushed comes after the PONG
		p.mux.clients.add(nodeID, p)
	}
	return nil
}

// TurnAway answers the CONNECT that is being handled with a DISCONNECT. Its stream
// ends; where that is kept ([Dialect.KeepConnected]) its peer is answered nothing but
// why, until it CONNECTs again. The error is for the handler to return.
func (p *Peer) TurnAway(why *wire.Disconnect) error {
	p.keepConnected()
	p.mux.count.turnAway(why.Reason)
	err := p.Reply(why)
	if err == nil && !p.kept {
		return &TurnedAwayError{Reason: why.Reason, Message: why.Message}
	}
	p.connected.Store(false)
	p.refused = &wire.CallError{Code: why.Reason, Message: why.Message}
	p.mux.clients.drop(p)
	if p.session.TurnedAway != nil {
		p.session.TurnedAway(why)
	}
	return err
}

// keepConnected has the stream live as long as its connection from here on, where
// its dialect wants that.
func (p *Peer) keepConnected() {
	if p.session.Dialect.KeepConnected && !p.kept {
		p.kept = true
		p.out.Keep()
	}
}

// refuse answers a frame on a stream whose CONNECT was refused: what its sender
// waits for, with why.
func (p *Peer) refuse(f framing.Frame) error {
	refusal := p.mux.refusal(f.Type)
	if refusal == nil {
		return nil
	}
	reply, err := refusal(p, f, p.refused)
	if err != nil || reply == nil {
		return err
	}
	return p.Reply(reply)
}

// ErrTurnedAway: the peer was sent a DISCONNECT, and its stream closed. A stream
// that is kept ([Dialect.KeepConnected]) is not.
var ErrTurnedAway = errors.New("turned away")

// TurnedAwayError is the ErrTurnedAway that says why.
type TurnedAwayError struct {
	Reason  string // the word that the peer was sent, such as wire.ReasonRealmMismatch
	Message string // for people
}

func (e *TurnedAwayError) Error() string { return ErrTurnedAway.Error() + ": " + e.Why() }

// Is reports whether it is target: ErrTurnedAway.
func (e *TurnedAwayError) Is(target error) bool { return target == ErrTurnedAway }

// Why is the reason with its message.
func (e *TurnedAwayError) Why() string {
	if e.Message == "" {
		return e.Reason
	}
	return e.Reason + ": " + e.Message
}
