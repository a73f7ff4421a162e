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
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/flags"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/terminal"
	"github.com/macula-mesh/macula-node/internal/datadir"
	"github.com/macula-mesh/macula-node/node"
	"github.com/macula-mesh/macula-node/node/credentials"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
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
		Flags: slices.Concat([]cli.Flag{
			&cli.StringSliceFlag{Name: "listen", Usage: "`MULTIADDR` to listen on, repeatable (default: --port of all IPv4 and IPv6 addresses)"},
			flags.Port(),
			flags.DataDir(),
			&cli.StringFlag{Name: "realm", Usage: "`NAME` of the realm to serve", Value: proto.DefaultRealm, Sources: flags.Env("MACULA_REALM")},
			&cli.StringFlag{Name: "hostname", Usage: "`NAME` that peers are told to reach this node by (default: a reachable public address, else one of an interface)", Sources: flags.Env("MACULA_HOSTNAME")},
			&cli.StringSliceFlag{Name: "bootstrap", Usage: "`ADDR` to connect to, a multiaddr with /p2p or https://HOST:PORT of an Erlang gateway; repeatable, or with commas between", Sources: flags.Env("MACULA_BOOTSTRAP_PEERS")},
			&cli.StringFlag{Name: "name", Usage: "`NAME` of this node in its logs and in what run prints; its id comes from its key", Sources: flags.Env("NODE_NAME")},
			&cli.BoolFlag{Name: "port-mapping", Usage: "ask the router (UPnP, NAT-PMP) to forward the port, unless it is listened on loopback alone; --port-mapping=false for not at all", Value: true},
			&cli.StringFlag{Name: "mode", Usage: "`MODE` towards libp2p peers: auto, server or client", Value: string(node.ModeAuto)},
			flags.HealthPort(),
			flags.API(),
			flags.JSON(),
		}, flags.Observe(), flags.Access(), flags.Store(), flags.Conns(), flags.Log(), flags.TLS(
			&cli.StringFlag{Name: "tls-cert", Usage: "`FILE` of the certificate that Erlang nodes are shown, with its chain, in PEM (default: a self-signed one, kept in the data directory)", Sources: flags.Env("MACULA_TLS_CERTFILE")},
			&cli.StringFlag{Name: "tls-key", Usage: "`FILE` of the certificate's key, in PEM", Sources: flags.Env("MACULA_TLS_KEYFILE")},
		)),
		Action: runNode,
	}
}

func runNode(ctx context.Context, cmd *cli.Command) error {
	if cmd.Args().Present() {
		return flags.Usagef("run takes no arguments, but got %q; see macula-node run --help", cmd.Args().First())
	}
	port, err := flags.ListenPort(cmd)
	if err != nil {
		return err
	}
	policy, err := flags.TLSPolicy(cmd)
	if err != nil {
		return err
	}
	kept, err := storing(cmd)
	if err != nil {
		return err
	}
	if err := flags.SetupLogs(cmd, cmd.Root().ErrWriter); err != nil {
		return err
	}
	dir, err := flags.DataDirOf(cmd)
	if err != nil {
		return err
	}
	signal.Ignore(syscall.SIGPIPE) // whoever read our output may be gone before we have stopped
	return runOn(ctx, cmd, dir, port, policy, kept)
}

// kept is where records are kept, and how many.
type kept struct {
	durable      bool
	memory, disk int64 // bytes
}

func storing(cmd *cli.Command) (k kept, err error) {
	k.memory, k.disk, err = flags.StoreSizes(cmd)
	k.durable = !cmd.Bool("ephemeral")
	if !k.durable {
		k.disk = 0
	}
	return k, err
}

// runOn runs a node on a data directory.
func runOn(ctx context.Context, cmd *cli.Command, dir string, port uint16, policy credentials.TLS, k kept) error {
	connections, err := flags.ConnLimits(cmd)
	if err != nil {
		return err
	}
	health, err := flags.HealthAddr(cmd)
	if err != nil {
		return err
	}
	api, spare, err := flags.APIAddr(cmd)
	if err != nil {
		return err
	}
	watch, err := observed(ctx, cmd)
	if err != nil {
		return err
	}
	defer watch.close()
	limits := memoryLimits(k.memory, connections.Memory)
	hangUps := takeHangUps(ctx)
	waitsFor(ctx, func() string { return "the start" })
	n, err := node.Start(ctx, node.Config{
		Listen:    cmd.StringSlice("listen"),
		Port:      port,
		Realm:     cmd.String("realm"),
		Hostname:  cmd.String("hostname"),
		Bootstrap: flags.Trimmed(cmd.StringSlice("bootstrap")),
		Mode:      node.Mode(cmd.String("mode")),

		NoPortMapping: !cmd.Bool("port-mapping"),

		Allow:    cmd.String("allow"),
		Deny:     cmd.String("deny"),
		Strict:   cmd.Bool("strict"),

		GroupPrivate: cmd.Bool("group-private"),

		SwarmKey: cmd.String("swarm-key"),

		TLS:     policy,
		DataDir: dir,
		Version: version(),
		Health:  health,

		API:      api,
		APISpare: spare,

		Durable:   k.durable,
		Records:   records.Limits{Bytes: k.memory},
		DiskBytes: k.disk,
		Conns:     connections,
		Limits:    &limits,

		Registerer:     watch.registry,
		TracerProvider: watch.tracerProvider(),
	})
	switch {
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return nil // stopped before it had started
	case isNotWritable(err) && k.durable:
		return flags.Usagef("%w; with --ephemeral (MACULA_EPHEMERAL) the node keeps its records in memory only", err)
	case err != nil:
		return flags.Usage(namingFlag(err))
	}
	waitsFor(ctx, n.Closing)
	if err := awaitBeginning(ctx, n); err != nil {
		return errors.Join(err, n.Abandon())
	}
	if err := announce(cmd, n); err != nil {
		return errors.Join(err, n.Close())
	}
	for ctx.Err() == nil {
		select {
		case <-hangUps:
			_ = n.Reload() // which logs
		case <-ctx.Done():
		}
	}
	if !cmd.Bool("json") {
		fmt.Fprintln(cmd.Root().Writer, "Stopping.")
	}
	if err := n.Close(); err != nil {
		return fmt.Errorf("%w: %w", errUndone, err)
	}
	return nil
}

// flagOf is the flag by which a field of the configuration is said, and its variable.
var flagOf = map[string]string{
	"Realm": "--realm (MACULA_REALM)", "Hostname": "--hostname (MACULA_HOSTNAME)",
	"Bootstrap": "--bootstrap (MACULA_BOOTSTRAP_PEERS)", "Listen": "--listen", "Mode": "--mode", "SwarmKey": "--swarm-key",
}

// namingFlag has an error of a node's configuration name the flag that is to be written
// otherwise.
func namingFlag(err error) error {
	if wrong, is := errors.AsType[*node.ConfigError](err); is && flagOf[wrong.Field] != "" {
		return fmt.Errorf("%s: %w", flagOf[wrong.Field], err)
	}
	return err
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
		Flags:       []cli.Flag{flags.DataDir(), flags.JSON()},
		Action: func(_ context.Context, cmd *cli.Command) error {
			if cmd.Args().Present() {
				return flags.Usagef("id takes no arguments, but got %q; see macula-node id --help", cmd.Args().First())
			}
			dir, err := flags.DataDirOf(cmd)
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
