package ask

import (
	"context"
	"errors"
	"fmt"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/flags"
	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/internal/datadir"
	"github.com/macula-mesh/macula-node/node"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// askLocal is Node of the node that runs on the data directory: as a libp2p peer,
// or as an Erlang node does where it answers no peers, being a client.
func askLocal(ctx context.Context, cmd *cli.Command, f func(context.Context, *Target) error) error {
	r, err := runningNode(cmd, "ADDR")
	if err != nil {
		return err
	}
	info, err := localPeer(r)
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, cmd.Duration("timeout"))
	defer cancel()
	h, c, closeBoth, err := newClient(cmd.Duration("timeout"), connecting(r.Realm))
	if err != nil {
		return err
	}
	defer closeBoth()
	err = twice(limited, &Target{Contact: contactAt(*info), Network: c, Realm: meshRealm(cmd, r)}, false, f)
	if isClient(h, info.ID, err) {
		err = askLocalEndpoint(limited, cmd, r, h.ID(), f)
	}
	return explainLocal(ctx, err, r)
}

// askLocalEndpoint asks the node by the endpoint that it serves Erlang nodes at,
// where its key proves who it is. A strict one is told first that its own realm asks.
func askLocalEndpoint(ctx context.Context, cmd *cli.Command, r *datadir.Running, self peer.ID, f func(context.Context, *Target) error) error {
	e, err := identity.ParsePinnedEndpoint(r.Endpoint)
	if err != nil {
		return err
	}
	d, err := dialer.New(WithinTime(cmd.Duration("timeout")), dialer.WithPins(e))
	if err != nil {
		return err
	}
	defer d.Close()
	t := &Target{Contact: routing.Contact{Endpoint: e.String()}, Network: d, Realm: meshRealm(cmd, r)}
	if err = twice(ctx, t, true, f); !errors.Is(err, proto.ErrConnectFirst) {
		return err
	}
	c, err := d.Acquire(ctx, e.Endpoint)
	if err != nil {
		return err
	}
	defer c.Release()
	session, err := c.Connect(ctx, connectOf(self, r.Realm), readReplies)
	if err != nil {
		return err
	}
	defer session.Close()
	return twice(ctx, t, true, f)
}

// readReplies hears a node out to which a command CONNECTs, and answers nothing.
func readReplies(ctx context.Context, s server.Stream, replies func(framing.Frame)) error {
	defer context.AfterFunc(ctx, func() { s.Reset(proto.ResetShutdown) })()
	for in := framing.NewReader(s); ; {
		frame, err := in.Next()
		if err != nil {
			return err
		}
		replies(frame)
	}
}

// localPeer returns the running node as a peer.
func localPeer(r *datadir.Running) (*peer.AddrInfo, error) {
	all := &peer.AddrInfo{}
	for _, text := range r.Addrs {
		info, err := node.ParsePeer(text)
		if err != nil {
			return nil, fmt.Errorf("the data directory says that %s is at %w", r, err)
		}
		all.ID, all.Addrs = info.ID, append(all.Addrs, info.Addrs...)
	}
	return all, nil
}

// isClient reports whether a peer did not answer as it serves no peers.
func isClient(h host.Host, p peer.ID, err error) bool {
	if !errors.Is(err, proto.ErrRefused) {
		return false
	}
	spoken, err := h.Peerstore().SupportsProtocols(p, proto.ProtocolID)
	return err == nil && len(spoken) == 0
}

// explainLocal says what to do where the running node did not answer.
func explainLocal(ctx context.Context, err error, r *datadir.Running) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.Canceled):
		return &askError{fmt.Sprintf("interrupted: %s had not answered yet", r), err}
	case !errors.Is(err, proto.ErrUnreachable):
		return err
	}
	return &askError{fmt.Sprintf("%s, does not answer at %s: is it in a container or on another machine? Say whom to ask: %v", r, r.Addrs[0], err), err}
}

// localEntry returns where a short-lived peer enters the network of the running
// node: at the node, or where that one did if it answers no peers.
func localEntry(ctx context.Context, e entry, r *datadir.Running) (texts []string, err error) {
	info, err := localPeer(r)
	if err != nil {
		return nil, err
	}
	err = e.enter(ctx, contactAt(*info))
	switch {
	case err == nil:
		return nil, nil
	case !isClient(e.host, info.ID, err):
		return nil, explainLocal(e.ctx, err, r)
	case len(r.Bootstrap) == 0:
		return nil, flags.Usagef("%s, is a client, which answers no peers: name one with --bootstrap", r)
	}
	return r.Bootstrap, nil
}

// meshRealm is the realm of the command: without a flag, that of the running node.
func meshRealm(cmd *cli.Command, r *datadir.Running) string {
	if r != nil && !cmd.IsSet("realm") {
		return r.Realm
	}
	return cmd.String("realm")
}

// runningNode returns what the node of the command's data directory says. What else
// could be written is said in errors.
func runningNode(cmd *cli.Command, instead string) (*datadir.Running, error) {
	dir, err := flags.DataDirOf(cmd)
	if err != nil {
		return nil, err
	}
	r, err := datadir.RunningIn(dir)
	if errors.Is(err, datadir.ErrNotRunning) {
		return nil, fmt.Errorf("%w: start one with macula-node run, or name another with %s; %s", err, instead, flags.UsageOf(cmd))
	}
	return r, err
}
