package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	ma "github.com/multiformats/go-multiaddr"
	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/ask"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/flags"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/terminal"
	"github.com/macula-mesh/macula-node/compat/dialer/safety"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/addressing"
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

Each value is one line of JSON. Bytes that are no text show as {"$bin": "<hex>"}, and
a list of small integers of an Erlang node, which travels as a text, as a list.`,
		Flags: ask.Flags(append(flags.Keys(), flags.DataDir())...),
		Action: func(ctx context.Context, cmd *cli.Command) error {
			addr, key, _, err := flags.SplitOptional(cmd)
			if err != nil {
				return err
			}
			return ask.Node(ctx, cmd, addr, func(ctx context.Context, t *ask.Target) error {
				reply, err := client.FindValue(ctx, t.Network, t.Contact, key.Bytes)
				if err != nil {
					return err
				}
				return printFound(cmd, key, reply)
			})
		},
	}
}

func printFound(cmd *cli.Command, key flags.Key, reply *wire.FindValueReply) error {
	if cmd.Bool("json") {
		found := struct {
			Key       string     `json:"key"`
			Values    []wire.Raw `json:"values"`
			ExpiresIn []int64    `json:"expires_in,omitempty"`
			Nodes     []nodeView `json:"nodes,omitempty"`
		}{key.String(), reply.Values, reply.ExpiresIn, viewNodes(reply.Nodes)}
		if found.Values == nil {
			found.Values = []wire.Raw{}
		}
		if err := terminal.PrintJSON(cmd, found); err != nil {
			return err
		}
	} else {
		for _, v := range reply.Values {
			text, err := v.MarshalJSON()
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(cmd.Root().Writer, "%s\n", text); err != nil {
				return err
			}
		}
	}
	if len(reply.Values) == 0 {
		return fmt.Errorf("%w: nothing is stored there under %s", errNotFound, key.Long())
	}
	return nil
}

func putCommand() *cli.Command {
	return &cli.Command{
		Name:      "put",
		Usage:     "have a node store a value under a key",
		ArgsUsage: "[ADDR] (KEY | --service NAME | --topic NAME) VALUE",
		Description: flags.KeyHelp + flags.LocalHelp + `

With --replicate there is no ADDR: the value is stored on the nodes nearest to the
key, anywhere in the network of the --bootstrap peers, or of the node that runs on
the data directory, by a peer that lives as long as the command.

VALUE is a JSON object. A provider is told apart by its "node_id", bytes or a text:
write 64 hexadecimal digits. A value with a shorter one, or none, is neither given
to Erlang nodes nor shown to them, as it would crash them. A "ttl" says how many
seconds the value is kept, at most and by default 86400. Texts travel as bytes;
other bytes are given as {"$bin": "<hex>"}.`,
		Flags: ask.Flags(append(append(flags.Keys(), ask.MeshFlags()...), flags.DataDir(),
			&cli.BoolFlag{Name: "replicate", Usage: "store it on the nodes nearest to the key"})...),
		Action: func(ctx context.Context, cmd *cli.Command) error {
			if cmd.Bool("replicate") {
				return putReplicated(ctx, cmd)
			}
			addr, key, rest, err := flags.SplitOptional(cmd, "VALUE")
			if err != nil {
				return err
			}
			value, err := parseValue(rest[0])
			if err != nil {
				return err
			}
			return ask.Node(ctx, cmd, addr, func(ctx context.Context, t *ask.Target) error {
				err := client.Put(ctx, t.Network, t.Contact, procedures.StoreArgs{Key: key.Bytes, Value: value.Raw})
				if errors.Is(err, values.ErrHarmful) {
					return flags.Usagef("VALUE '%s' %w; %s", shorten(rest[0]), err, valueExample)
				}
				if err != nil {
					return err
				}
				if cmd.Bool("json") {
					return terminal.PrintJSON(cmd, map[string]any{"key": key.String(), "status": "ok", "ttl": int64(value.TTL / time.Second)})
				}
				_, err = fmt.Fprintf(cmd.Root().Writer, "stored under %s for %v\n", key, value.TTL)
				return err
			})
		},
	}
}

// valueExample is how a VALUE looks.
const valueExample = "write a JSON object, such as " + exampleValue

// exampleValue is a provider, under an id that Erlang nodes take without harm.
const exampleValue = `{"node_id": "2bd806c97f0e00af1a1fc3328fa763a9269723c8db8fac4f93af71db186d6e90", "endpoint": "https://127.0.0.1:8080"}`

func parseValue(text string) (values.Value, error) {
	raw, err := wire.FromJSON([]byte(text))
	if err != nil {
		return values.Value{}, flags.Usagef("VALUE '%s': %w; %s", shorten(text), err, valueExample)
	}
	if raw.Kind() != wire.Map {
		return values.Value{}, flags.Usagef("VALUE '%s' is not an object; %s", shorten(text), valueExample)
	}
	if ttl, ok := raw.Field("ttl"); ok {
		if seconds, whole := ttl.Whole(); !whole || seconds <= 0 {
			shown, _ := ttl.MarshalJSON() // it came from JSON
			return values.Value{}, flags.Usagef(`VALUE has the "ttl" %s: write whole seconds, 1 or more (above 86400 counts as 86400)`, shorten(string(shown)))
		}
	}
	value, err := values.Parse(raw)
	if err != nil {
		return values.Value{}, flags.Usagef("VALUE: %w", err)
	}
	return value, nil
}

// shorten returns the beginning of a text that may be long.
func shorten(text string) string {
	const most = 60
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}

// nodeView is a node as JSON shows it.
type nodeView struct {
	NodeID   wire.Raw       `json:"node_id"`
	PeerID   string         `json:"peer_id,omitempty"`
	Address  string         `json:"address"`
	Addrs    []ma.Multiaddr `json:"addrs,omitempty"`
	LastSeen time.Time      `json:"last_seen"`
}

func viewNodes(nodes []wire.Node) []nodeView {
	views := make([]nodeView, len(nodes))
	for i, n := range nodes {
		p := addressing.PeerOf(n)
		views[i] = nodeView{
			NodeID:   wire.RawBytes(n.ID),
			PeerID:   p.ID.String(),
			Address:  n.Address,
			Addrs:    p.Addrs,
			LastSeen: wire.TimeOfMilli(n.LastSeen).UTC(),
		}
	}
	return views
}

// idText shows a node id: a text as Erlang clients send it, else hexadecimal.
func idText(id []byte) string {
	if len(id) == 2*32 {
		if _, err := hex.DecodeString(string(id)); err == nil {
			return string(id)
		}
	}
	return hex.EncodeToString(id)
}

func findNodeCommand() *cli.Command {
	return &cli.Command{
		Name:      "find-node",
		Usage:     "list the nodes nearest to a key that a node knows",
		ArgsUsage: "ADDR (KEY | --service NAME | --topic NAME)",
		Description: flags.KeyHelp + `
An https:// address wants --force: an Erlang node that itself bootstrapped from
another one crashes on this question, and loses all that it stored.`,
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
				return printNodes(cmd, nodes)
			})
		},
	}
}

func printNodes(cmd *cli.Command, nodes []wire.Node) error {
	if cmd.Bool("json") {
		return terminal.PrintJSON(cmd, map[string]any{"nodes": viewNodes(nodes)})
	}
	if len(nodes) == 0 {
		_, err := fmt.Fprintln(cmd.Root().Writer, "it knows no nodes")
		return err
	}
	return terminal.Table(cmd.Root().Writer, func(w io.Writer) {
		fmt.Fprintln(w, "NODE ID\tLAST SEEN\tADDRESS")
		for _, n := range nodes {
			seen := time.Since(wire.TimeOfMilli(n.LastSeen)).Round(time.Second)
			address := n.Address
			for _, a := range addressing.PeerOf(n).Addrs {
				address += " " + a.String()
			}
			fmt.Fprintf(w, "%s\t%v ago\t%s\n", idText(n.ID), max(seen, 0), terminal.Legible(address))
		}
	})
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
				return printGateways(cmd, list)
			})
		},
	}
}

func printGateways(cmd *cli.Command, list procedures.GatewayList) error {
	if cmd.Bool("json") {
		return terminal.PrintJSON(cmd, list.Raw())
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(cmd.Root().Writer, "it knows no gateways")
		return err
	}
	return terminal.Table(cmd.Root().Writer, func(w io.Writer) {
		fmt.Fprintln(w, "NODE ID\tENDPOINT\tREALM")
		for _, g := range list {
			e := endpoints.Endpoint{Host: g.Host, Port: uint16(g.Port)}
			fmt.Fprintf(w, "%s\t%s\t%s\n", idText(g.NodeID), terminal.Legible(e.String()), terminal.Legible(g.Realm))
		}
	})
}
