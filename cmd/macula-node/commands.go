package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/ask"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/flags"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/local"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/settings"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/terminal"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/view"
	"github.com/macula-mesh/macula-node/compat/dialer/safety"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
)

// onlyAddr checks that ADDR is the one argument.
func onlyAddr(cmd *cli.Command) error {
	if n := cmd.Args().Len(); n != 1 {
		return flags.Usagef("want one ADDR, got %d arguments; usage: %s %s", n, cmd.FullName(), cmd.ArgsUsage)
	}
	return nil
}

func pingCommand() *cli.Command {
	return &cli.Command{
		Name:      "ping",
		Usage:     "ask a node for a sign of life",
		ArgsUsage: "ADDR",
		Flags:     ask.Flags(),
		Action: func(ctx context.Context, cmd *cli.Command) error {
			if err := onlyAddr(cmd); err != nil {
				return err
			}
			return ask.Node(ctx, cmd, cmd.Args().First(), func(ctx context.Context, t *ask.Target) error {
				if _, err := client.Ping(ctx, t.Network, t.Contact); err != nil { // pays for the handshake
					return err
				}
				rtt, err := client.Ping(ctx, t.Network, t.Contact)
				if err != nil {
					return err
				}
				if cmd.Bool("json") {
					return terminal.PrintJSON(cmd, map[string]any{"addr": cmd.Args().First(), "rtt_ms": float64(rtt.Microseconds()) / 1000})
				}
				_, err = fmt.Fprintf(cmd.Root().Writer, "%s answered in %v\n", cmd.Args().First(), rtt.Round(10*time.Microsecond))
				return err
			})
		},
	}
}

func getCommand() *cli.Command {
	return &cli.Command{
		Name:      "get",
		Usage:     "print what a node has stored under a key",
		ArgsUsage: "[ADDR] (KEY | --service NAME | --topic NAME)",
		Description: flags.KeyHelp + flags.LocalHelp + `

Each value is one line of JSON. Bytes that are no text show as
{"$bin": "<hex>"}, and a list of small integers of an Erlang node, which
travels as a text, as a list.

Those come first that are proved to be of the node_id in them, by a proof of
the --realm; how many these are is said on standard error, and with --json in
"proved". What Erlang nodes store is not, nor what comes of an https:// ADDR.`,
		Flags: ask.Flags(append(flags.Keys(), settings.Flag("data-dir"), ask.Realm())...),
		Action: func(ctx context.Context, cmd *cli.Command) error {
			addr, key, _, err := flags.SplitOptional(cmd)
			if err != nil {
				return err
			}
			if addr == "" {
				return getHere(ctx, cmd, key)
			}
			return ask.Node(ctx, cmd, addr, func(ctx context.Context, t *ask.Target) error {
				reply, err := client.FindValue(ctx, t.Network, t.Contact, key.Bytes)
				if err != nil {
					return err
				}
				return printFound(cmd, t, key, reply)
			})
		},
	}
}

func printFound(cmd *cli.Command, t *ask.Target, key flags.Key, reply *wire.FindValueReply) error {
	return printValues(cmd, key, view.ValuesOf(reply, key.Bytes, t.Realm), view.NodesOf(reply.Nodes), !t.IsErlang())
}

// printValues prints what a node has under a key, and whom it knows near it.
func printValues(cmd *cli.Command, key flags.Key, found view.Values, nodes []view.Node, tells bool) error {
	if cmd.Bool("json") {
		if err := terminal.PrintJSON(cmd, struct {
			Key string `json:"key"`
			view.Values
			Nodes []view.Node `json:"nodes,omitempty"`
		}{key.String(), found, nodes}); err != nil {
			return err
		}
	} else if err := found.Print(cmd, tells); err != nil {
		return err
	}
	if len(found.Values) == 0 {
		elsewhere := ""
		if len(nodes) > 0 {
			elsewhere = "; macula-node lookup asks the other nodes too"
		}
		return fmt.Errorf("%w: nothing is stored there under %s%s", errNotFound, key.Long(), elsewhere)
	}
	return nil
}

func putCommand() *cli.Command {
	return &cli.Command{
		Name:      "put",
		Usage:     "have a node store a value under a key",
		ArgsUsage: "[ADDR] (KEY | --service NAME | --topic NAME) VALUE",
		Description: flags.KeyHelp + flags.LocalHelp + `

With --replicate there is no ADDR: the value is stored on the nodes nearest
to the key, anywhere in the network of the --bootstrap peers, or of the node
that runs on the data directory, by a peer that lives as long as the command.

VALUE is a JSON object. A provider is told apart by its "node_id", bytes or a
text: write 64 hexadecimal digits. A value with a shorter one, or none, is
neither given to Erlang nodes nor shown to them, as it would crash them. A
"ttl" says how many seconds the value is kept, at most and by default 86400.
Texts travel as bytes; other bytes are given as {"$bin": "<hex>"}.`,
		Flags: ask.Flags(append(append(flags.Keys(), ask.MeshFlags()...), settings.Flag("data-dir"),
			&cli.BoolFlag{Name: "replicate", Usage: "store it on the nodes nearest to the key"})...),
		Action: func(ctx context.Context, cmd *cli.Command) error {
			if cmd.Bool("replicate") {
				return putReplicated(ctx, cmd)
			}
			addr, key, rest, err := flags.SplitOptional(cmd, "VALUE")
			if err != nil {
				return err
			}
			value, err := flags.ParseValue(rest[0])
			if err != nil {
				return err
			}
			if addr == "" {
				return putHere(ctx, cmd, key, value, false)
			}
			return ask.Node(ctx, cmd, addr, func(ctx context.Context, t *ask.Target) error {
				err := client.Put(ctx, t.Network, t.Contact, procedures.StoreArgs{Key: key.Bytes, Value: value.Raw})
				if errors.Is(err, values.ErrHarmful) {
					return flags.Usagef("VALUE '%s' %w; %s", flags.Shorten(rest[0]), err, flags.ValueExample)
				}
				if err != nil {
					return err
				}
				local.NoteUnseen(cmd, value)
				if cmd.Bool("json") {
					return terminal.PrintJSON(cmd, map[string]any{"key": key.String(), "status": "ok", "ttl": int64(value.TTL / time.Second)})
				}
				_, err = fmt.Fprintf(cmd.Root().Writer, "stored under %s for %v\n", key, value.TTL)
				return err
			})
		},
	}
}

func findNodeCommand() *cli.Command {
	return &cli.Command{
		Name:      "find-node",
		Usage:     "list the nodes nearest to a key that a node knows",
		ArgsUsage: "ADDR (KEY | --service NAME | --topic NAME)",
		Description: flags.KeyHelp + `
An https:// address wants --force: an Erlang node that itself bootstrapped
from another one crashes on this question, and loses all that it stored.`,
		Flags: ask.Flags(append(flags.Keys(),
			&cli.BoolFlag{Name: "force", Usage: "ask an Erlang node all the same"})...),
		Action: func(ctx context.Context, cmd *cli.Command) error {
			key, _, err := flags.SplitArgs(cmd)
			if err != nil {
				return err
			}
			if ask.IsErlang(cmd.Args().First()) && !cmd.Bool("force") {
				return flags.Usagef("%w; --force asks all the same", safety.ErrFindNode)
			}
			return ask.Node(ctx, cmd, cmd.Args().First(), func(ctx context.Context, t *ask.Target) error {
				nodes, err := client.FindNode(ctx, t.Network, t.Contact, key.Bytes)
				if err != nil {
					return err
				}
				return view.Nodes(cmd, nodes)
			})
		},
	}
}

func gatewaysCommand() *cli.Command {
	return &cli.Command{
		Name:      "gateways",
		Usage:     "list the gateways that a node knows",
		ArgsUsage: "ADDR",
		Flags:     ask.Flags(),
		Action: func(ctx context.Context, cmd *cli.Command) error {
			if err := onlyAddr(cmd); err != nil {
				return err
			}
			return ask.Node(ctx, cmd, cmd.Args().First(), func(ctx context.Context, t *ask.Target) error {
				list, err := client.ListGateways(ctx, t.Network, t.Contact)
				if err != nil {
					return err
				}
				return view.Gateways(cmd, list)
			})
		},
	}
}
