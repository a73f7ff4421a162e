package lookup

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// errWrong is the fault of a contact whose answer can not be right.
var errWrong = errors.New("wrong answer")

// learn reads a reply, and takes in what it says if all of it can be right.
func (s *search) learn(from *peerCandidate, reply wire.Message) (nodes, values int, err error) {
	var listed []wire.Node
	var reason string
	var found []FoundValue
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
		if found, err = readValues(m, from.IsErlang()); err != nil {
			return 0, 0, err
		}
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

	if len(found) > 0 {
		from.helpful, from.holds = true, true
		s.hold(found)
	}
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

// readValues returns the values of a reply that have life left. Values that may
// not be stored are wrong, but an Erlang node stores anything.
func readValues(m *wire.FindValueReply, lenient bool) ([]FoundValue, error) {
	if len(m.Values) > wire.MaxValues {
		return nil, fmt.Errorf("%w: %d values, limit %d", errWrong, len(m.Values), wire.MaxValues)
	}
	now := time.Now()
	found := make([]FoundValue, 0, len(m.Values))
	for i, raw := range m.Values {
		v, err := values.Parse(bytes.Clone(raw)) // one value does not keep a whole reply in memory
		if err != nil && lenient {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errWrong, err)
		}
		life := v.TTL
		if i < len(m.ExpiresIn) {
			life = min(life, wire.Seconds(m.ExpiresIn[i]))
		}
		if life > 0 {
			found = append(found, FoundValue{v, now.Add(life)})
		}
	}
	return found, nil
}
