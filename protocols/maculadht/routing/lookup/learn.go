package lookup

import (
	"errors"
	"fmt"
	"slices"

	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// errWrong is the fault of a contact whose answer can not be right.
var errWrong = errors.New("wrong answer")

// learn reads a reply, and takes in what it says if all of it can be right.
func (s *search) learn(from *peerCandidate, reply wire.Message) (nodes, values int, err error) {
	var listed []wire.Node
	var reason string
	var found, withdrawn []FoundValue
	var passed bool // it has values that are passed over
	wantsNodes := !s.values || from.again
	switch m := reply.(type) {
	case *wire.FindNodeReply:
		if !wantsNodes {
			return 0, 0, fmt.Errorf("%w: %T", errWrong, reply)
		}
		listed, reason = m.Nodes, m.Reason
	case *wire.FindValueReply:
		if wantsNodes {
			return 0, 0, fmt.Errorf("%w: %T", errWrong, reply)
		}
		listed, reason = m.Nodes, m.Reason
		answered := answeredValues{search: s, reply: m, lenient: from.IsErlang()}
		if found, err = answered.read(); err != nil {
			return 0, 0, err
		}
		withdrawn = answered.withdrawn()
		passed = s.how.ProvedOnly && len(m.Values) > 0
	default:
		return 0, 0, fmt.Errorf("%w: %T", errWrong, reply)
	}
	if reason != "" {
		return 0, 0, &proto.RemoteError{Code: reason}
	}
	var contacts []routing.Contact
	if !from.IsErlang() {
		if contacts, err = s.readNodes(from, listed); err != nil {
			return 0, 0, err
		}
	}

	if len(found) > 0 || passed {
		from.helpful, from.holds = true, true
	}
	if len(found) > 0 {
		s.vouch(from.group, slices.ContainsFunc(found, isProved))
	}
	s.hold(append(found, withdrawn...), len(found))
	for _, c := range contacts {
		s.frontier.add(c, from.round+1)
	}
	return len(listed), len(found), nil
}

// readNodes returns the libp2p contacts of a list that can be asked. What
// nobody could name in good faith makes the whole list wrong: the asked one
// itself, too many, an address that is none, a node id that is not the peer
// id's. Erlang nodes are left out: they are asked only by who has verified them.
func (s *search) readNodes(from *peerCandidate, listed []wire.Node) ([]routing.Contact, error) {
	if len(listed) > routing.BucketSize {
		return nil, fmt.Errorf("%w: %d nodes, limit %d", errWrong, len(listed), routing.BucketSize)
	}
	contacts := make([]routing.Contact, 0, len(listed))
	local := len(from.Addrs) > 0 && !slices.ContainsFunc(from.Addrs, manet.IsPublicAddr)
	for i := range listed {
		n := &listed[i]
		id := routing.IDFromBytes(n.ID)
		if id == from.ID {
			return nil, fmt.Errorf("%w: names itself", errWrong)
		}
		if len(n.Addrs) == 0 {
			continue
		}
		if s.frontier.open(id) { // else there is nothing to learn, so nothing to read
			c, ok := routing.ContactFromNode(*n)
			if !ok || c.IsErlang() {
				return nil, fmt.Errorf("%w: a node id or an address that is none", errWrong)
			}
			if !local { // what it knows of its own network leads nowhere, or into ours
				private := len(c.Addrs) > 0
				c.Addrs = ma.FilterAddrs(c.Addrs, manet.IsPublicAddr)
				if _, ours := s.server.Contact(id); private && len(c.Addrs) == 0 && !ours {
					continue
				}
			}
			contacts = append(contacts, c)
		}
		from.helpful = from.helpful || s.id.Closer(id, from.ID)
	}
	return contacts, nil
}
