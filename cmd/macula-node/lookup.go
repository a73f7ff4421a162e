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
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

func lookupCommand() *cli.Command {
	return &cli.Command{
		Name:      "lookup",
		Usage:     "find the values of a key anywhere in the network",
		ArgsUsage: "[--bootstrap MULTIADDR] (KEY | --service NAME | --topic NAME)",
		Description: flags.KeyHelp + `
The node that runs on the data directory asks ever nearer nodes or, with
--bootstrap, a peer that lives as long as the command, and
shows each that answered; the values come last, one line of JSON each, those
first that are proved to be of the node_id in them. How many these are is
said on standard error, and with --json in "proved".`,
		Flags: append(append(flags.Keys(), ask.MeshFlags()...), settings.Flag("data-dir"), flags.Timeout(10*time.Second), flags.JSON()),
		Action: func(ctx context.Context, cmd *cli.Command) error {
			key, _, err := flags.SplitKey(cmd, cmd.Args().Slice())
			if err != nil {
				return err
			}
			if named, err := ask.NamesPeers(cmd); err != nil {
				return err
			} else if !named {
				return lookupHere(ctx, cmd, key)
			}
			observe := func(lookup.Hop) {}
			if !cmd.Bool("json") {
				observe = func(h lookup.Hop) {
					if !h.Again { // it was shown when it said what it has
						view.HopFound(h).Print(cmd.Root().Writer)
					}
				}
			}
			return ask.InMesh(ctx, cmd, observe, func(ctx context.Context, m *ask.Mesh) error {
				found, err := m.Lookups.Values(ctx, key.Bytes)
				if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
					early := fmt.Errorf("the lookup ended early, after %s answered: %w; --timeout sets how long it may take", terminal.Plural(tallyOf(found).answered, "node"), err)
					if len(found.Values) == 0 {
						return early
					}
					fmt.Fprintf(cmd.Root().ErrWriter, "macula-node: %s\n", terminal.Legible(early.Error()))
				}
				return printLookup(cmd, key, found)
			})
		},
	}
}

func printLookup(cmd *cli.Command, key flags.Key, found *lookup.Found) error {
	shown, tally := view.ValuesFound(found.Values), tallyOf(found)
	if cmd.Bool("json") {
		if err := terminal.PrintJSON(cmd, map[string]any{
			"key": key.String(), "values": shown.Values, "expires_in": append([]int64{}, shown.ExpiresIn...), "proved": shown.Proved, "holders": found.Holders,
			"asked": tally.asked, "answered": tally.answered, "silent": tally.silent, "trace": view.HopsFound(found.Hops),
		}); err != nil {
			return err
		}
	} else if err := shown.Print(cmd, true); err != nil {
		return err
	}
	if len(shown.Values) == 0 {
		return tally.explain(key)
	}
	return nil
}

// tally is how many nodes a lookup asked, and what came of it.
type tally struct{ asked, answered, silent int }

func tallyOf(found *lookup.Found) tally {
	t := tally{asked: len(found.Hops) + found.Silent, silent: found.Silent}
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
func (t tally) explain(key flags.Key) error {
	failed := ""
	if t.silent > 0 {
		failed = fmt.Sprintf(", %d kept silent", t.silent)
	}
	if wrong := t.asked - t.answered - t.silent; wrong > 0 {
		failed += fmt.Sprintf(", %d refused or answered what can not be", wrong)
	}
	switch {
	case t.asked == 0:
		return fmt.Errorf("%w: no peers are known that could be asked for %s", proto.ErrUnreachable, key.Long())
	case t.answered == 0:
		return fmt.Errorf("%w: nobody answered: of %s asked for %s%s", proto.ErrUnreachable, terminal.Plural(t.asked, "node"), key.Long(), failed)
	}
	return fmt.Errorf("%w: none of the %s that answered has a value under %s (%d asked%s)", errNotFound, terminal.Plural(t.answered, "node"), key.Long(), t.asked, failed)
}

// putReplicated stores a value on the nodes nearest to its key.
func putReplicated(ctx context.Context, cmd *cli.Command) error {
	if addr, _, _, err := flags.SplitOptional(cmd, "VALUE"); err == nil && addr != "" {
		return flags.Usagef("--replicate finds the nodes itself, so %s is one argument too many: name peers to begin at by --bootstrap; %s", addr, flags.UsageOf(cmd))
	}
	key, rest, err := flags.SplitKey(cmd, cmd.Args().Slice(), "VALUE")
	if err != nil {
		return err
	}
	value, err := flags.ParseValue(rest[0])
	if err != nil {
		return err
	}
	if named, err := ask.NamesPeers(cmd); err != nil {
		return err
	} else if !named {
		return putHere(ctx, cmd, key, value, true)
	}
	asked, status := 0, terminal.NewStatus(cmd)
	observe := func(lookup.Hop) {
		asked++
		status.Show("asked %s for those nearest to the key", terminal.Plural(asked, "node"))
	}
	return ask.InMesh(ctx, cmd, observe, func(ctx context.Context, m *ask.Mesh) error {
		r, err := maculadht.Replicate(ctx, m.Server, m.Lookups, m.Network, key.Bytes, value)
		status.Clear()
		if err != nil {
			return err
		}
		local.NoteUnseen(cmd, value)
		if cmd.Bool("json") {
			return terminal.PrintJSON(cmd, map[string]any{
				"key": key.String(), "status": "ok", "ttl": int64(value.TTL / time.Second),
				"acknowledged": len(r.Acknowledged), "sent": len(r.Sent), "failed": len(r.Failed),
				"trace": view.HopsFound(r.Found.Hops),
			})
		}
		fmt.Fprintf(cmd.Root().Writer, "stored under %s for %v: %s acknowledged", key, value.TTL, terminal.Plural(len(r.Acknowledged), "node"))
		if len(r.Failed) > 0 {
			fmt.Fprintf(cmd.Root().Writer, ", %d did not take it", len(r.Failed))
		}
		_, err = fmt.Fprintln(cmd.Root().Writer)
		return err
	})
}
