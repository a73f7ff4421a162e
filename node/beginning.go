package node

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/macula-mesh/macula-node/compat/uplink"
	"github.com/macula-mesh/macula-node/node/api/schema"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// beginning is an address that the node was told to begin at, and how far it is with it.
type beginning struct {
	addr  string
	state string // as in schema.Bootstrap
	since time.Time
	err   error
	tried bool // something has come of it, be it an error
	sure  bool // with another realm: the key that answers there proves that it says so itself
}

// beginnings returns all of them, but for this node itself.
func (n *Node) beginnings() (all []beginning) {
	peers := n.service.Bootstrap()
	find := func(id peer.ID) (maculadht.BootstrapStatus, bool) {
		i := slices.IndexFunc(peers, func(s maculadht.BootstrapStatus) bool { return s.Peer.ID == id })
		if i < 0 {
			return maculadht.BootstrapStatus{}, false
		}
		return peers[i], true
	}
	for _, b := range n.cfg.bootstrap {
		if s, is := find(b.ID); is {
			all = append(all, beginningAtPeer(addrOf(b), s))
		}
	}
	for _, s := range n.uplinks.Status() {
		if s.State == uplink.StateSelf {
			continue
		}
		if p, is := find(s.Peer); is && s.State == uplink.StatePeer {
			all = append(all, beginningAtPeer(s.Gateway.String(), p))
			continue
		}
		b := beginning{addr: s.Gateway.String(), state: schema.BootstrapTrying, since: s.Since, err: s.Err}
		switch s.State {
		case uplink.StateJoined, uplink.StateUsed, uplink.StatePeer:
			b.state, b.err = schema.BootstrapJoined, nil
		case uplink.StateOtherRealm:
			b.state, b.sure = schema.BootstrapOtherRealm, s.Proved
		}
		b.tried = b.state != schema.BootstrapTrying || b.err != nil
		all = append(all, b)
	}
	return all
}

func beginningAtPeer(addr string, s maculadht.BootstrapStatus) beginning {
	b := beginning{addr: addr, state: schema.BootstrapTrying, since: s.Since, err: s.Err}
	switch s.State {
	case maculadht.BootstrapJoined:
		b.state = schema.BootstrapJoined
	case maculadht.BootstrapOtherRealm:
		b.state, b.sure = schema.BootstrapOtherRealm, true // its connection proves who it is
	}
	b.tried = b.state != schema.BootstrapTrying || b.err != nil
	return b
}

func addrOf(p peer.AddrInfo) string {
	if len(p.Addrs) == 0 {
		return "/p2p/" + p.ID.String()
	}
	return fmt.Sprintf("%s/p2p/%s", p.Addrs[0], p.ID)
}

// why says what is wrong with an address, in one way for peers and gateways.
func (b beginning) why() string {
	refused, isRefused := errors.AsType[*proto.RefusedError](b.err)
	switch {
	case b.state == schema.BootstrapOtherRealm && errors.Is(b.err, uplink.ErrOtherRealm):
		return b.err.Error()
	case b.state == schema.BootstrapOtherRealm && isRefused:
		said := strings.TrimPrefix(refused.Reason, proto.ErrRealmMismatch.Error()+": ")
		return fmt.Sprintf("%v: %s says: %s: %s", uplink.ErrOtherRealm, b.addr, said, uplink.NameOfOurRealm)
	case proto.IsClock(b.err):
		return fmt.Sprintf("%s: this machine's clock, at %s, or that node's, is wrong by an hour or more: %v", b.addr, time.Now().Format(time.RFC3339), b.err)
	case b.err != nil:
		return fmt.Sprintf("%s: %v", b.addr, b.err)
	}
	return b.addr + ": no answer yet"
}

// Beginning says what has come of the addresses that the node was told to begin at
// (Config.Bootstrap): whether it is in the network of one of them, and if not whether
// something may still come of one that was not tried to the end.
func (n *Node) Beginning() (joined, open bool) {
	for _, b := range n.beginnings() {
		joined = joined || b.state == schema.BootstrapJoined
		open = open || !b.tried
	}
	return joined, open
}

// OtherRealm returns why the node is in no network, where those that it was told to begin
// at all serve other realms, as their keys prove: that is its operator's mistake. It is an
// ErrOtherRealm, and nil else, also where anybody else is known.
func (n *Node) OtherRealm() error {
	all := n.beginnings()
	if len(all) == 0 || len(n.service.Routing().Contacts()) > 0 {
		return nil
	}
	var errs []error
	for _, b := range all {
		if b.state != schema.BootstrapOtherRealm || !b.sure {
			return nil
		}
		errs = append(errs, &otherRealmError{b.why(), b.err})
	}
	return errors.Join(errs...)
}

// ErrOtherRealm: a node or a gateway serves another realm.
var ErrOtherRealm = uplink.ErrOtherRealm

type otherRealmError struct {
	text string
	err  error
}

func (e *otherRealmError) Error() string   { return e.text }
func (e *otherRealmError) Unwrap() []error { return []error{ErrOtherRealm, e.err} }

// beginningsGrace is for how long nothing is said of an address that has not answered.
const beginningsGrace = 5 * time.Second

// lonely says why the node knows nobody though it was told where to begin; nothing where
// that is not so, or may be a matter of moments.
func (n *Node) lonely(all []beginning) string {
	if len(all) == 0 || len(n.service.Routing().Contacts()) > 0 {
		return ""
	}
	var why []string
	for _, b := range all {
		if !b.tried && time.Since(b.since) < beginningsGrace {
			return ""
		}
		if b.state == schema.BootstrapJoined { // it was, a moment ago
			why = append(why, b.addr+": it is not known any more")
			continue
		}
		why = append(why, b.why())
	}
	return "this node is in no network: it knows no other node, and where it was told to begin (--bootstrap) nobody let it in; it goes on trying: " + strings.Join(why, "; ")
}

// told returns them as the local API tells of them.
func told(all []beginning) []schema.Bootstrap {
	out := make([]schema.Bootstrap, len(all))
	for i, b := range all {
		out[i] = schema.Bootstrap{Addr: b.addr, State: b.state, Since: b.since}
		if b.err != nil {
			out[i].Error = b.why()
		}
	}
	return out
}
