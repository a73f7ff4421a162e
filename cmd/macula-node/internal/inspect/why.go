package inspect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/flags"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/terminal"
	"github.com/macula-mesh/macula-node/node/api/client"
	"github.com/macula-mesh/macula-node/node/api/schema"
)

// ErrMissing: there is no value under the key that was asked about.
var ErrMissing = errors.New("not found")

// shouldHold is how many of those that should hold a key are shown.
const shouldHold = 5

// Why is the command that explains whether a key is found, and why not.
func Why() *cli.Command {
	return &cli.Command{
		Name: "why", Usage: "explain why a key is found, or is not",
		ArgsUsage: "KEY | --service NAME | --topic NAME",
		Description: flags.KeyHelp + `

The node that runs on the data directory looks the key up. It is told who was
asked, and what each has answered; whether the node itself has the key, or
had it since its start, and for how long; and who should have it. The exit
code is 0 where it is found, 1 where not.`,
		Flags: append(flags.Keys(), common(wide())...),
		Action: func(ctx context.Context, cmd *cli.Command) error {
			key, _, err := flags.SplitKey(cmd, cmd.Args().Slice())
			if err != nil {
				return err
			}
			return withNode(ctx, cmd, func(ctx context.Context, c *client.Client) error {
				w := why{Key: key.String(), Hops: []schema.Hop{}}
				if w.Here, err = c.Stored(ctx, key.Bytes); err != nil {
					return err
				}
				if w.Found, err = c.Lookup(ctx, key.Bytes, nil, func(h schema.Hop) { w.Hops = append(w.Hops, h) }); err != nil {
					return err
				}
				if err := print(cmd, w, func(out io.Writer) { w.print(cmd, out, key) }); err != nil {
					return err
				}
				if w.Found.Result != schema.LookupFound {
					return fmt.Errorf("%w: %s", ErrMissing, w.reason())
				}
				return nil
			})
		},
	}
}

// why is what explains a key.
type why struct {
	Key   string        `json:"key"`
	Here  schema.Stored `json:"here"`
	Hops  []schema.Hop  `json:"hops"`
	Found schema.Looked `json:"found"`
}

// reason says in a line why nothing was found.
func (w why) reason() string {
	switch f := w.Found; {
	case len(w.Here.Withdrawn) > 0:
		return "its provider has withdrawn it"
	case f.Result == schema.LookupNoPeers:
		return "the node knows nobody who could be asked: it is in no network (macula-node status says why)"
	case f.Result == schema.LookupUnanswered:
		return fmt.Sprintf("none of the %s that were asked has answered", terminal.Plural(f.Asked, "node"))
	case f.Result == schema.LookupEnded:
		return "the lookup took too long: " + terminal.Legible(f.Error)
	case w.Here.Changed != nil:
		return "it was stored here, and has come to its end, or was dropped: its provider has not renewed it"
	default:
		return fmt.Sprintf("%s answered, and none has it: nobody has stored it in this realm, it has come to the end of its life, or who stored it is in another network", terminal.Plural(f.Answered, "node"))
	}
}

func (w why) print(cmd *cli.Command, out io.Writer, key flags.Key) {
	fmt.Fprintf(out, "key\t%s\n", key)
	if key.Long() != key.String() { // 64 digits leave room for no more
		fmt.Fprintf(out, "\t%s\n", key.Typed)
	}
	if f := w.Found; f.Result == schema.LookupFound {
		fmt.Fprintf(out, "found\tyes: %s, %s\n", terminal.Plural(len(f.Values), "value"), terminal.Plural(f.Holders, "holder"))
	} else {
		fmt.Fprintf(out, "found\tno\n")
	}
	fmt.Fprintf(out, "here\t%s\n", w.here())
	fmt.Fprintf(out, "asked\t%d: %d answered, %d silent\n", w.Found.Asked, w.Found.Answered, w.Found.Silent)
	for _, h := range w.Hops {
		if h.Again {
			continue
		}
		said := fmt.Sprintf("knows %s", terminal.Plural(h.Nodes, "nearer node"))
		switch {
		case h.Error != "":
			said = short(cmd, h.Error, 30)
		case h.Values > 0:
			said = "has " + terminal.Plural(h.Values, "value")
		}
		fmt.Fprintf(out, "\thop %d  %s  %s  %s\n", h.Hop, id(cmd, cmp.Or(h.PeerID, h.Endpoint, h.NodeID)), latency(h.TookMS), said)
	}
	should := w.Found.Nearest
	if len(should) == 0 {
		should = w.Here.Nearest
	}
	first := "should have it"
	for _, c := range should[:min(len(should), shouldHold)] {
		fmt.Fprintf(out, "%s\t%s  %s\n", first, id(cmd, cmp.Or(c.PeerID, c.Endpoint, c.NodeID)), w.has(c))
		first = ""
	}
	if w.Here.Near {
		fmt.Fprintf(out, "%s\tthis node\n", first)
	}
}

// has says what one that should have the key has said.
func (w why) has(c schema.Contact) string {
	for _, h := range w.Hops {
		if h.NodeID != c.NodeID {
			continue
		}
		switch {
		case h.Error != "":
			return "did not answer"
		case h.Values > 0:
			return "has it"
		}
		return "has it not"
	}
	return "was not asked"
}

// here says what the node itself has, or had.
func (w why) here() string {
	switch s := w.Here; {
	case len(s.Records) > 0:
		longest := time.Duration(0)
		for _, r := range s.Records {
			longest = max(longest, time.Until(r.Expires))
		}
		return fmt.Sprintf("%s, for %s more", terminal.Plural(len(s.Records), "record"), brief(longest))
	case len(s.Withdrawn) > 0:
		return "withdrawn by its provider"
	case s.Changed != nil:
		return fmt.Sprintf("no more: the last record went %s ago", brief(time.Since(*s.Changed)))
	}
	return "never since the node's start"
}
