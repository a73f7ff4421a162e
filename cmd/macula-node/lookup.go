package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/internal/datadir"
	"github.com/macula-mesh/macula-node/node"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

// meshFlags say where a short-lived peer enters the network.
func meshFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "bootstrap", Usage: "`MULTIADDR` with /p2p of a peer to begin at; repeatable, or with commas between; https:// endpoints are passed over (default: the node that runs on the data directory)", Sources: variables("MACULA_BOOTSTRAP_PEERS")},
		&cli.StringFlag{Name: "realm", Usage: "`NAME` of the realm", Value: proto.DefaultRealm, Sources: variables("MACULA_REALM")},
	}
}

// mesh is a peer that lives as long as a command: it asks, and nobody lists it.
type mesh struct {
	server  *routing.Server
	network routing.Network
	lookups *lookup.Lookups
}

// inMesh runs f in the network that the command's bootstrap peers are in, or the
// node that runs on its data directory where none is named.
func inMesh(ctx context.Context, cmd *cli.Command, observe func(lookup.Hop), f func(context.Context, *mesh) error) error {
	peers, texts, err := bootstrapPeers(cmd)
	if err != nil {
		return err
	}
	var local *datadir.Running
	if len(peers) == 0 {
		if local, err = runningNode(cmd, "--bootstrap"); err != nil {
			return err
		}
	}
	limited, cancel := context.WithTimeout(ctx, cmd.Duration("timeout"))
	defer cancel()
	h, client, closeBoth, err := newClient(cmd.Duration("timeout"))
	if err != nil {
		return err
	}
	defer closeBoth()
	server, err := routing.NewServer(routing.IDFromPeer(h.ID()))
	if err != nil {
		return err
	}
	defer server.Close()
	entry := entry{ctx: ctx, host: h, client: client, server: server, realm: meshRealm(cmd, local), timeout: cmd.Duration("timeout")}
	status := newStatus(cmd)
	if local != nil {
		status.show("connecting to the node that runs here")
		texts, err = localEntry(limited, entry, local)
		status.clear()
		if err == nil {
			peers, err = parsePeers(texts)
		}
		if err != nil {
			return err
		}
	}
	status.show("connecting to %s", plural(len(peers), "bootstrap peer"))
	failed := entry.through(limited, texts, peers)
	status.clear()
	if len(failed) > 0 && len(failed) == len(texts) {
		return errors.Join(failed...)
	}
	for _, err := range failed {
		fmt.Fprintf(cmd.Root().ErrWriter, "macula-node: %s\n", legible(err.Error()))
	}
	lookups, err := lookup.New(server, client, lookup.WithObserver(observe))
	if err != nil {
		return err
	}
	return f(limited, &mesh{server: server, network: client, lookups: lookups})
}

// bootstrapPeers returns the libp2p peers that the command names. Endpoints of
// gateways are passed over: one list serves run too.
func bootstrapPeers(cmd *cli.Command) (peers []*peer.AddrInfo, texts []string, err error) {
	named := trimmed(cmd.StringSlice("bootstrap"))
	for _, text := range named {
		b, err := node.ParseBootstrap(text)
		switch {
		case err != nil:
			return nil, nil, usagef("--bootstrap %w", err)
		case b.Peer != nil:
			peers, texts = append(peers, b.Peer), append(texts, text)
		}
	}
	if len(named) > 0 && len(peers) == 0 && cmd.Count("bootstrap") > 0 {
		return nil, nil, usagef("--bootstrap has only endpoints of Erlang gateways, such as %s: add the multiaddr with /p2p of a peer, as run prints it, or leave it out to ask the node that runs here", named[0])
	}
	return peers, texts, nil
}

func parsePeers(texts []string) ([]*peer.AddrInfo, error) {
	peers := make([]*peer.AddrInfo, len(texts))
	for i, text := range texts {
		var err error
		if peers[i], err = node.ParsePeer(text); err != nil {
			return nil, err
		}
	}
	return peers, nil
}

// entry is how a short-lived peer gets into the network.
type entry struct {
	ctx     context.Context // an interrupt ends it
	host    host.Host
	client  *client.Client
	server  *routing.Server
	realm   string
	timeout time.Duration
}

// through tries all bootstrap peers at once, and returns why some did not let us
// in. Once one has, the others have a moment more.
func (e entry) through(ctx context.Context, texts []string, peers []*peer.AddrInfo) []error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	start := time.Now()
	var (
		tries  sync.WaitGroup
		mu     sync.Mutex
		failed []error
	)
	for i, info := range peers {
		tries.Go(func() {
			err := e.enter(ctx, contactAt(*info))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				time.AfterFunc(enterGrace, cancel)
			case ctx.Err() != nil && e.ctx.Err() == nil && len(e.server.Contacts()) > 0:
				failed = append(failed, fmt.Errorf("%s has not answered, and is not waited for", texts[i]))
			default:
				failed = append(failed, explain(e.ctx, err, attempt{texts[i], time.Since(start), e.timeout}))
			}
		})
	}
	tries.Wait()
	return failed
}

// enterGrace is for how long other bootstrap peers are waited for once one has
// answered.
const enterGrace = time.Second

// enter introduces this peer to a bootstrap peer, which says whether it serves
// the realm, and takes it for a contact. It is not listed in return: it answers
// nobody.
func (e entry) enter(ctx context.Context, to routing.Contact) error {
	self := e.server.Self()
	reply, err := e.client.Query(ctx, to, &wire.Connect{Version: wire.ProtocolVersion, NodeID: self[:], RealmID: e.realm})
	if err != nil {
		return err
	}
	if pong, ok := reply.(*wire.Pong); !ok || pong.RealmID != e.realm {
		return &proto.RefusedError{Reason: fmt.Sprintf("%s does not serve the realm %q", to.Peer, e.realm)}
	}
	if conns := e.host.Network().ConnsToPeer(to.Peer); len(conns) > 0 {
		to.Addrs = []ma.Multiaddr{conns[0].RemoteMultiaddr()} // a name does not tell whether it is in our own network
	}
	to.Verified, to.LastSeen = true, time.Now()
	return e.server.Admit(to)
}

func lookupCommand() *cli.Command {
	return &cli.Command{
		Name:      "lookup",
		Usage:     "find the values of a key anywhere in the network",
		ArgsUsage: "[--bootstrap MULTIADDR] (KEY | --service NAME | --topic NAME)",
		Description: keyHelp + `
It asks ever nearer nodes, as a peer that lives as long as the command, and shows
each that answered; the values come last, one line of JSON each.`,
		Flags: append(append(keyFlags(), meshFlags()...), dataDirFlag(), timeoutFlag(10*time.Second), jsonFlag()),
		Action: func(ctx context.Context, cmd *cli.Command) error {
			key, _, err := splitKey(cmd, cmd.Args().Slice())
			if err != nil {
				return err
			}
			observe := func(lookup.Hop) {}
			if !cmd.Bool("json") {
				observe = func(h lookup.Hop) { printHop(cmd.Root().Writer, h) }
			}
			return inMesh(ctx, cmd, observe, func(ctx context.Context, m *mesh) error {
				found, err := m.lookups.Values(ctx, key.bytes)
				if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
					early := fmt.Errorf("the lookup ended early, after %s answered: %w; --timeout sets how long it may take", plural(tallyOf(found).answered, "node"), err)
					if len(found.Values) == 0 {
						return early
					}
					fmt.Fprintf(cmd.Root().ErrWriter, "macula-node: %s\n", legible(early.Error()))
				}
				return printLookup(cmd, key, found)
			})
		},
	}
}

func printHop(out io.Writer, h lookup.Hop) {
	what := plural(h.Nodes, "node")
	switch {
	case h.Err != nil:
		what = h.Err.Error()
	case h.Values > 0:
		what = plural(h.Values, "value")
	}
	fmt.Fprintf(out, "hop %d  %s  %v  %s\n", h.Round, h.Contact.Peer, h.Took.Round(10*time.Microsecond), legible(what))
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// hopView is a hop as JSON shows it.
type hopView struct {
	Round  int     `json:"hop"`
	PeerID string  `json:"peer_id,omitempty"`
	NodeID string  `json:"node_id"`
	TookMS float64 `json:"took_ms"`
	Nodes  int     `json:"nodes"`
	Values int     `json:"values"`
	Error  string  `json:"error,omitempty"`
}

func viewHops(hops []lookup.Hop) []hopView {
	views := make([]hopView, len(hops))
	for i, h := range hops {
		views[i] = hopView{
			Round:  h.Round,
			PeerID: h.Contact.Peer.String(),
			NodeID: h.Contact.ID.String(),
			TookMS: float64(h.Took.Microseconds()) / 1000,
			Nodes:  h.Nodes,
			Values: h.Values,
		}
		if h.Err != nil {
			views[i].Error = h.Err.Error()
		}
	}
	return views
}

func printLookup(cmd *cli.Command, key namedKey, found *lookup.Found) error {
	values, expiresIn, tally := []wire.Raw{}, []int64{}, tallyOf(found)
	for _, v := range found.Values {
		values = append(values, v.Raw)
		expiresIn = append(expiresIn, int64(time.Until(v.Expires)/time.Second))
	}
	if cmd.Bool("json") {
		if err := printJSON(cmd, map[string]any{
			"key": key.String(), "values": values, "expires_in": expiresIn, "holders": found.Holders,
			"asked": tally.asked, "answered": tally.answered, "silent": tally.silent, "trace": viewHops(found.Hops),
		}); err != nil {
			return err
		}
	} else {
		for _, v := range values {
			text, err := v.MarshalJSON()
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.Root().Writer, "%s\n", text)
		}
	}
	if len(values) == 0 {
		return tally.explain(key)
	}
	return nil
}

// tally is how many nodes a lookup asked, and what came of it.
type tally struct{ asked, answered, silent int }

func tallyOf(found *lookup.Found) tally {
	t := tally{asked: len(found.Hops)}
	for _, h := range found.Hops {
		switch {
		case h.Err == nil:
			t.answered++
		case errors.Is(h.Err, proto.ErrUnreachable):
			t.silent++
		}
	}
	return t
}

// explain says why nothing was found.
func (t tally) explain(key namedKey) error {
	failed := ""
	if t.silent > 0 {
		failed = fmt.Sprintf(", %d kept silent", t.silent)
	}
	if wrong := t.asked - t.answered - t.silent; wrong > 0 {
		failed += fmt.Sprintf(", %d refused or answered what can not be", wrong)
	}
	switch {
	case t.asked == 0:
		return fmt.Errorf("%w: no peers are known that could be asked for %s", proto.ErrUnreachable, key.long())
	case t.answered == 0:
		return fmt.Errorf("%w: nobody answered: of %s asked for %s%s", proto.ErrUnreachable, plural(t.asked, "node"), key.long(), failed)
	}
	return fmt.Errorf("%w: none of the %s that answered has a value under %s (%d asked%s)", errNotFound, plural(t.answered, "node"), key.long(), t.asked, failed)
}

// putReplicated stores a value on the nodes nearest to its key.
func putReplicated(ctx context.Context, cmd *cli.Command) error {
	key, rest, err := splitKey(cmd, cmd.Args().Slice(), "VALUE")
	if err != nil {
		return err
	}
	value, err := parseValue(rest[0])
	if err != nil {
		return err
	}
	asked, status := 0, newStatus(cmd)
	observe := func(lookup.Hop) {
		asked++
		status.show("asked %s for those nearest to the key", plural(asked, "node"))
	}
	return inMesh(ctx, cmd, observe, func(ctx context.Context, m *mesh) error {
		r, err := maculadht.Replicate(ctx, m.server, m.lookups, m.network, key.bytes, value)
		status.clear()
		if err != nil {
			return err
		}
		if cmd.Bool("json") {
			return printJSON(cmd, map[string]any{
				"key": key.String(), "status": "ok", "ttl": int64(value.TTL / time.Second),
				"acknowledged": len(r.Acknowledged), "sent": len(r.Sent), "failed": len(r.Failed),
				"trace": viewHops(r.Found.Hops),
			})
		}
		fmt.Fprintf(cmd.Root().Writer, "stored under %s for %v: %s acknowledged", key, value.TTL, plural(len(r.Acknowledged), "node"))
		if len(r.Failed) > 0 {
			fmt.Fprintf(cmd.Root().Writer, ", %d did not take it", len(r.Failed))
		}
		_, err = fmt.Fprintln(cmd.Root().Writer)
		return err
	})
}
