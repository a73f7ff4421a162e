package inspect

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/flags"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/local"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/settings"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/terminal"
	"github.com/macula-mesh/macula-node/node/api/schema"
)

// addrWidth is how much of an address fits beside the other columns.
const addrWidth = 24

// Peers is the command that lists who is connected.
func Peers() *cli.Command {
	return shows("peers", "list the nodes that the node here is connected to",
		`KIND is macula for a libp2p peer that speaks Macula's DHT, libp2p for another
one, and erlang. RTT is the connection's round trip, SEEN how long ago it
spoke in the DHT, BUCKET its place in the routing table.`,
		"/v1/peers", func(cmd *cli.Command, out io.Writer, all schema.Peers) {
			if len(all.Peers) == 0 {
				fmt.Fprintln(out, "the node is connected to nobody")
				return
			}
			fmt.Fprintln(out, "KIND\tID\tDIR\tRTT\tSEEN\tBUCKET\tADDRESS")
			for _, p := range all.Peers {
				bucket := "-"
				if p.Bucket != nil {
					bucket = strconv.Itoa(*p.Bucket)
				}
				fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", p.Kind, id(cmd, cmp.Or(p.PeerID, p.NodeID)), dash(p.Direction), latency(p.LatencyMS), ago(p.LastSeen), bucket, dash(short(cmd, p.Addr, addrWidth)))
			}
		})
}

// Table is the command that lists the contacts.
func Table() *cli.Command {
	return shows("table", "list the contacts of the node here, nearest first",
		`BUCKET is how many leading bits a contact's id shares with the node's own,
RTT the round trip of the connection where there is one, SEEN how long ago it
spoke. Doubtful is who is to be asked for a sign of life.`,
		"/v1/table", func(cmd *cli.Command, out io.Writer, t schema.Table) {
			if len(t.Contacts) == 0 {
				fmt.Fprintln(out, "it knows nobody")
				return
			}
			fmt.Fprintln(out, "BUCKET\tNODE ID\tKIND\tSTATE\tRTT\tSEEN\tADDRESS")
			for _, c := range t.Contacts {
				fmt.Fprintf(out, "%d\t%s\t%s\t%s\t%s\t%s\t%s\n", c.Bucket, id(cmd, c.NodeID), c.Kind, c.State, latency(c.LatencyMS), ago(c.LastSeen), dash(short(cmd, cmp.Or(strings.Join(c.Addrs[:min(1, len(c.Addrs))], ""), c.Endpoint), addrWidth-4)))
			}
		})
}

// Uplinks is the command that lists the Erlang gateways that were named.
func Uplinks() *cli.Command {
	return shows("uplinks", "list the Erlang gateways that the node here was told to use",
		`STATE is how it stands with a gateway: connecting; joined, which is a
session; used, without one; peer, as a macula-node answers there; waiting for
the next try, after an error; other_realm; self. SINCE is how long it is so,
NEXT how long to the next try.`,
		"/v1/uplinks", func(cmd *cli.Command, out io.Writer, all schema.Uplinks) {
			if len(all.Uplinks) == 0 {
				fmt.Fprintln(out, "no gateway was named (--bootstrap https://HOST:PORT)")
				return
			}
			fmt.Fprintln(out, "GATEWAY\tSTATE\tSINCE\tNEXT\tERROR")
			for _, u := range all.Uplinks {
				next := "-"
				if u.Next != nil {
					next = brief(time.Until(*u.Next))
				}
				fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\n", short(cmd, u.Gateway, addrWidth+4), u.State, ago(&u.Since), next, dash(short(cmd, u.Error, addrWidth)))
			}
		})
}

// Clients is the command that lists who has a stream here that stays.
func Clients() *cli.Command {
	return shows("clients", "list the nodes that use the node here as their gateway",
		`They have CONNECTed on a stream that stays, by which they get messages and
calls. KIND is erlang or libp2p, STREAMS on how many of them.`,
		"/v1/clients", func(cmd *cli.Command, out io.Writer, all schema.Clients) {
			if len(all.Clients) == 0 {
				fmt.Fprintln(out, "it has no clients")
				return
			}
			fmt.Fprintln(out, "KIND\tNODE ID\tPEER ID\tSTREAMS\tADDRESS")
			for _, c := range all.Clients {
				kind := c.Dialect
				if kind == "macula" {
					kind = schema.KindErlang
				}
				fmt.Fprintf(out, "%s\t%s\t%s\t%d\t%s\n", kind, id(cmd, c.NodeID), dash(id(cmd, c.PeerID)), c.Streams, dash(short(cmd, c.Addr, addrWidth)))
			}
		})
}

// Events is the command that prints what happens.
func Events() *cli.Command {
	return &cli.Command{
		Name: "events", Usage: "print what happens to the node here, as it does",
		Description: `It goes on until it is interrupted: peers and contacts that come and go,
sessions, gateways, who is refused, what is stored, published and called.
What nobody tells of is looked at every second, so what comes and goes within
one is missed.`,
		Flags: []cli.Flag{settings.Flag("data-dir"), flags.JSON(), wide()},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			if err := noArgs(cmd); err != nil {
				return err
			}
			c, err := local.OfCommand(cmd)
			if err != nil {
				return err
			}
			for e, err := range c.Events(ctx, func() { fmt.Fprintln(cmd.Root().ErrWriter, "macula-node: listening") }) {
				switch {
				case ctx.Err() != nil:
					return nil
				case err != nil:
					return local.Wrong(err)
				case cmd.Bool("json"):
					err = terminal.PrintJSON(cmd, e)
				default:
					_, err = fmt.Fprintln(cmd.Root().Writer, eventText(cmd, e))
				}
				if err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func eventText(cmd *cli.Command, e schema.Event) string {
	parts := []string{e.Time.Local().Format("15:04:05"), strings.ReplaceAll(e.Kind, "_", " ")}
	if who := cmp.Or(e.PeerID, e.NodeID); who != "" {
		parts = append(parts, id(cmd, who))
	}
	for _, text := range []string{e.State, short(cmd, e.Addr, 2*addrWidth), short(cmd, e.Text, 2*addrWidth)} {
		if text != "" {
			parts = append(parts, terminal.Legible(text))
		}
	}
	var counts []string
	for name, n := range e.Counts {
		counts = append(counts, fmt.Sprintf("%s %d", strings.ReplaceAll(name, "_", " "), n))
	}
	slices.Sort(counts)
	parts = append(parts, strings.Join(counts, ", "))
	if e.Dropped > 0 {
		parts = append(parts, fmt.Sprintf("(%d before it were missed)", e.Dropped))
	}
	return strings.TrimRight(strings.Join(parts, "  "), " ")
}
