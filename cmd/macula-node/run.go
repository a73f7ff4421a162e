package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/flags"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/settings"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/supervised"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/terminal"
	"github.com/macula-mesh/macula-node/internal/datadir"
	"github.com/macula-mesh/macula-node/internal/logs"
	"github.com/macula-mesh/macula-node/node"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

func runCommand() *cli.Command {
	return &cli.Command{
		Name:  "run",
		Usage: "run a peer until it is interrupted",
		Description: `One UDP port serves libp2p peers (/macula/dht/1.0) and Erlang nodes (ALPN
macula). With --json it prints one line once it serves: {"name", "peer_id",
"node_id", "realm", "mode", "addrs", "endpoints"}, "name" where there is one.

A server answers libp2p peers and is listed by them; a client asks and
stores, but answers none and nobody lists it. Mode auto is a server, unless
there are public addresses and none of them can be reached. Erlang nodes are
served in any mode.

What it acknowledges is kept in its data directory, and is there after a
restart or a crash; with --ephemeral it is kept in memory only.

--allow and --deny say who may come; at SIGHUP, which never ends it, their
files are read again.

While it runs, lookup, get and put ask it without an address, by its data
directory; status says how it is.`,
		Flags:  append(settings.Flags(), &cli.BoolFlag{Name: settings.HelpAll, Usage: "explain all flags, those of the limits too"}, flags.JSON()),
		Action: runNode,
	}
}

func runNode(ctx context.Context, cmd *cli.Command) error {
	if cmd.Args().Present() {
		return flags.Usagef("run takes no arguments, but got %q; see macula-node run --help", cmd.Args().First())
	}
	if cmd.Bool(settings.HelpAll) {
		_, err := io.WriteString(cmd.Root().Writer, settings.Help(settings.WithoutLimits(cmd.Flags))+settings.LimitsHelp())
		return err
	}
	e := settings.Of(cmd)
	dir, err := settings.DataDir(cmd)
	if err != nil {
		return err
	}
	cfg, err := e.Node(version())
	if err != nil {
		return err
	}
	cfg.DataDir = dir
	if err := flags.SetupLogs(cmd.Root().ErrWriter, e.Config.Log.Level, e.Config.Log.Format, e.Config.Name); err != nil {
		return flags.Usage(err)
	}
	for _, unknown := range settings.UnknownVariables() {
		logs.Logger("node").Warn(unknown)
	}
	limitMemory(cfg)
	signal.Ignore(syscall.SIGPIPE) // whoever read our output may be gone before we have stopped
	return runOn(ctx, cmd, cfg)
}

// runOn runs a node.
func runOn(ctx context.Context, cmd *cli.Command, cfg node.Config) error {
	watch, err := observed(ctx, cmd)
	if err != nil {
		return err
	}
	defer watch.close()
	cfg.Registerer, cfg.TracerProvider = watch.registry, watch.tracerProvider()
	hangUps := takeHangUps(ctx)
	waitsFor(ctx, func() string { return "the start" })
	n, err := node.Start(ctx, cfg)
	switch {
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return nil // stopped before it had started
	case isNotWritable(err) && cfg.Durable:
		return flags.Usagef("%w; with --ephemeral (MACULA_EPHEMERAL) the node keeps its records in memory only", err)
	case err != nil:
		return flags.Usage(settings.Of(cmd).Named(err))
	}
	waitsFor(ctx, n.Closing)
	if err := awaitBeginning(ctx, n); err != nil {
		return errors.Join(err, n.Abandon())
	}
	if err := announce(cmd, n); err != nil {
		return errors.Join(err, n.Close())
	}
	supervisor := supervised.New(logs.Logger("node"))
	supervisor.Ready("serves the realm "+strconv.Quote(n.Realm()), n.Alive)
	for ctx.Err() == nil {
		select {
		case <-hangUps:
			_ = n.Reload() // which logs
		case <-ctx.Done():
		}
	}
	supervisor.Stopping()
	supervisor.Close() // before the node, which gives no sign of life from then on
	if !cmd.Bool("json") {
		fmt.Fprintln(cmd.Root().Writer, "Stopping.")
	}
	if err := n.Close(); err != nil {
		return fmt.Errorf("%w: %w", errUndone, err)
	}
	return nil
}

func isNotWritable(err error) bool {
	_, is := errors.AsType[*datadir.NotWritableError](err)
	return is
}

// startWait is how long run waits, before it says that it serves, for a word of those that
// it was told to begin at.
const startWait = 3 * time.Second

// awaitBeginning returns an error if all of them serve another realm: it is for the
// operator to say which realm was meant. Later on nothing that others say ends a node that
// serves.
func awaitBeginning(ctx context.Context, n *node.Node) error {
	patience := time.NewTimer(startWait)
	defer patience.Stop()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for joined, open := n.Beginning(); open && !joined; joined, open = n.Beginning() {
		select {
		case <-look.C:
		case <-patience.C:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
	return n.OtherRealm()
}

// serving is what run prints with --json once it serves.
type serving struct {
	Name      string   `json:"name,omitempty"`
	PeerID    string   `json:"peer_id"`
	NodeID    string   `json:"node_id"`
	Realm     string   `json:"realm"`
	Mode      string   `json:"mode"`
	Addrs     []string `json:"addrs"`
	Endpoints []string `json:"endpoints"`
}

func announce(cmd *cli.Command, n *node.Node) error {
	s := serving{
		Name:      cmd.String("name"),
		PeerID:    n.Host().ID().String(),
		NodeID:    n.ID().String(),
		Realm:     n.Realm(),
		Mode:      string(n.Mode()),
		Addrs:     []string{},
		Endpoints: n.Endpoints(),
	}
	for _, a := range n.Addrs() {
		s.Addrs = append(s.Addrs, a.String())
	}
	out := cmd.Root().Writer
	if cmd.Bool("json") {
		return terminal.PrintJSON(cmd, s)
	}
	var text bytes.Buffer // in one Write, so that no log line comes between
	if s.Name != "" {
		fmt.Fprintf(&text, "macula-node %s serves the realm %s\n\n", terminal.Legible(s.Name), s.Realm)
	} else {
		fmt.Fprintf(&text, "macula-node serves the realm %s\n\n", s.Realm)
	}
	err := terminal.Table(&text, func(w io.Writer) {
		fmt.Fprintf(w, "  peer id\t%s\n", s.PeerID)
		fmt.Fprintf(w, "  node id\t%s\n", s.NodeID)
		fmt.Fprintf(w, "  mode\t%s\n", s.Mode)
		fmt.Fprintf(w, "  libp2p\t%s\n", strings.Join(s.Addrs, "\n\t"))
		fmt.Fprintf(w, "  Erlang\t%s\n", strings.Join(s.Endpoints, "\n\t"))
	})
	if err != nil {
		return err
	}
	if len(s.Endpoints) > 0 {
		fmt.Fprintf(&text, "\nTry, in another terminal:\n\n  %s put %s --service greeter '%s'\n",
			programName(), nearest(s.Endpoints), flags.ExampleValue)
	}
	fmt.Fprintln(&text, "\nCtrl-C stops it.")
	_, err = text.WriteTo(out)
	return err
}

// nearest returns the endpoint that a second terminal reaches most surely.
func nearest(endpoints []string) string {
	for _, e := range endpoints {
		if strings.HasPrefix(e, "https://127.") {
			return e
		}
	}
	return endpoints[len(endpoints)-1]
}

// programName is how the user started this program.
func programName() string {
	if exe, err := os.Executable(); err == nil && strings.Contains(filepath.ToSlash(exe), "/go-build") {
		return "go run ./cmd/macula-node"
	}
	return os.Args[0]
}

func idCommand() *cli.Command {
	return &cli.Command{
		Name:        "id",
		Usage:       "print the peer id and node id that run will have",
		Description: `The identity key is made if there is none yet.`,
		Flags:       []cli.Flag{settings.Flag("data-dir"), flags.JSON()},
		Action: func(_ context.Context, cmd *cli.Command) error {
			if cmd.Args().Present() {
				return flags.Usagef("id takes no arguments, but got %q; see macula-node id --help", cmd.Args().First())
			}
			dir, err := settings.DataDir(cmd)
			if err != nil {
				return err
			}
			key, err := node.Identity(dir)
			if err != nil {
				return flags.Usage(err)
			}
			p, err := peer.IDFromPrivateKey(key)
			if err != nil {
				return flags.Usage(err)
			}
			nodeID := routing.IDFromPeer(p).String()
			out := cmd.Root().Writer
			if cmd.Bool("json") {
				return terminal.PrintJSON(cmd, map[string]string{"peer_id": p.String(), "node_id": nodeID})
			}
			return terminal.Table(out, func(w io.Writer) {
				fmt.Fprintf(w, "peer id\t%s\nnode id\t%s\n", p, nodeID)
			})
		},
	}
}
