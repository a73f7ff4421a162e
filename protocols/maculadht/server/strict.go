package server

import (
	"fmt"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// WithStrict has nothing served but CONNECT before there was one whose realm is ours:
// on the stream, or as [Session.Met] tells. What is asked before is refused with
// [ConnectFirst] where there are words for it ([Mux.Refuse]), else the stream ends with
// proto.ResetConnectFirst. What [Mux.Open] lets pass is served.
func WithStrict() Option {
	return func(c *config) error {
		c.strict = true
		return nil
	}
}

// ConnectFirst is why a frame is refused whose sender has not CONNECTed.
var ConnectFirst = &wire.CallError{Code: wire.CodeConnectFirst, Message: "This node answers nobody who has not CONNECTed in its realm, send a CONNECT first"}

// Opening reports whether a frame is one of those that are served before a CONNECT
// where the Mux is strict.
type Opening func(p *Peer, f framing.Frame) bool

// Open has o say which frames of a type are served before a CONNECT where the Mux is
// strict; of other types none are. It fails with [ErrHandled] where another does.
func (m *Mux) Open(t wire.Type, o Opening) error {
	if o == nil {
		return fmt.Errorf("opening of %s is nil", t)
	}
	m.registering.Lock()
	defer m.registering.Unlock()
	opens := *m.opens.Load()
	if opens[t] != nil {
		return fmt.Errorf("%w that says what is served first: %s", ErrHandled, t)
	}
	opens[t] = o
	m.opens.Store(&opens)
	return nil
}

// opening returns what says which frames of a type are served before a CONNECT, nil for
// nobody.
func (m *Mux) opening(t wire.Type) Opening {
	for ; m != nil; m = m.below {
		if o := m.opens.Load()[t]; o != nil {
			return o
		}
	}
	return nil
}

// mayAsk reports whether a frame is served though the Mux is strict.
func (p *Peer) mayAsk(f framing.Frame) bool {
	if p.met || f.Type == wire.TypeConnect {
		return true
	}
	if p.met = p.Connected() || p.session.Met != nil && p.session.Met(); p.met {
		return true
	}
	open := p.mux.opening(f.Type)
	return open != nil && open(p, f)
}

// connectFirst refuses a frame whose sender has not CONNECTed.
func (p *Peer) connectFirst(f framing.Frame) error {
	p.mux.count.unmet.Add(1)
	refusal := p.mux.refusal(f.Type)
	if refusal == nil {
		return proto.ErrConnectFirst
	}
	reply, err := refusal(p, f, ConnectFirst)
	switch {
	case err != nil:
		return err
	case reply == nil:
		return proto.ErrConnectFirst
	}
	return p.Reply(reply)
}
