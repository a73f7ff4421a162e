package node

import (
	"errors"
	"fmt"

	"github.com/macula-mesh/macula-node/internal/access"
)

// ErrSwarmKey: a node can not be in a private network of libp2p.
var ErrSwarmKey = errors.New("libp2p's private networks encrypt what is below a connection's handshake, which QUIC, the one transport here, has no place for: say instead in an allow list who may come (--allow FILE), and have nobody answered who has not CONNECTed in the realm (--strict)")

// AccessStats counts the connections that the allow and the deny list kept away.
type AccessStats = access.Stats

// Reload reads the allow and the deny list again (Config.Allow, Config.Deny), and closes
// the connections of those that may not come any more. Where one of the files can not be
// read, or has a line that is no entry, both lists stay in force as they were, and the
// error names the line. It is safe for concurrent use, and does nothing without files.
func (n *Node) Reload() error {
	lists := n.cfg.access
	if n.cfg.Allow == "" && n.cfg.Deny == "" {
		n.cfg.log("node").Info("nothing to read again: there is neither an allow nor a deny list")
		return nil
	}
	if err := lists.Reload(); err != nil {
		n.cfg.log("node").Error("the lists of who may come were not read again, those of before stay in force", "err", err)
		return fmt.Errorf("read who may come: %w", err)
	}
	n.sayWhoMayCome("the lists of who may come were read again", "closed", n.closeRefused())
	return nil
}

// closeRefused closes the connections of those that may not come, and returns how many.
func (n *Node) closeRefused() int { return n.host.CloseRefused() + n.gateway.CloseGated() }

// AccessStats returns how many connections the allow and the deny list kept away.
func (n *Node) AccessStats() AccessStats { return n.cfg.access.Stats() }

// sayWhoMayCome logs how many entries the lists have.
func (n *Node) sayWhoMayCome(what string, more ...any) {
	if n.cfg.Allow == "" && n.cfg.Deny == "" {
		return
	}
	allow, deny := n.cfg.access.Sizes()
	n.cfg.log("node").Info(what, append(more, "allowed", allow, "denied", deny)...)
	if n.cfg.Allow != "" && allow == 0 {
		n.cfg.log("node").Warn("the allow list has no entry, so that anybody may come who is not denied", "file", n.cfg.Allow)
	}
}
