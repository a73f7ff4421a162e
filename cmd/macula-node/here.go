package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/flags"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/local"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/terminal"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/view"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/internal/datadir"
	"github.com/macula-mesh/macula-node/node/api/client"
	"github.com/macula-mesh/macula-node/node/api/schema"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// here asks the node that runs on a command's data directory, within the command's time.
func here(ctx context.Context, cmd *cli.Command, f func(context.Context, *client.Client) error) error {
	c, err := local.OfCommand(cmd)
	if errors.Is(err, datadir.ErrNotRunning) {
		instead := "ADDR"
		if strings.Contains(cmd.ArgsUsage, "--bootstrap") || cmd.Bool("replicate") {
			instead = "--bootstrap"
		}
		return fmt.Errorf("%w; or name another with %s; %s", err, instead, flags.UsageOf(cmd))
	}
	if err != nil {
		return err
	}
	if cmd.IsSet("realm") {
		s, err := c.Status(ctx)
		if err != nil {
			return err
		}
		if want := cmd.String("realm"); want != s.Realm {
			return flags.Usagef("--realm %q: the node that runs there is of the realm %q: leave it out, or name a node of that realm", want, s.Realm)
		}
	}
	limited, cancel := context.WithTimeout(ctx, cmd.Duration("timeout"))
	defer cancel()
	return local.Wrong(f(limited, c))
}

// getHere prints what the node that runs here has under a key.
func getHere(ctx context.Context, cmd *cli.Command, key flags.Key) error {
	return here(ctx, cmd, func(ctx context.Context, c *client.Client) error {
		stored, err := c.Stored(ctx, key.Bytes)
		if err != nil {
			return err
		}
		found := view.ValuesStored(stored.Records)
		return printValues(cmd, key, found, view.NodesNear(stored.Nearest), true)
	})
}

// putHere has the node that runs here store a value, and where it is to be replicated those
// nearest to its key.
func putHere(ctx context.Context, cmd *cli.Command, key flags.Key, value values.Value, replicate bool) error {
	return here(ctx, cmd, func(ctx context.Context, c *client.Client) error {
		done, err := c.Put(ctx, schema.PutRequest{Key: hex.EncodeToString(key.Bytes), Value: schema.Value{Raw: value.Raw}, Replicate: replicate})
		if err != nil {
			return err
		}
		local.NoteUnseen(cmd, value)
		if cmd.Bool("json") {
			said := map[string]any{"key": key.String(), "status": "ok", "ttl": done.TTL}
			if replicate {
				said["acknowledged"], said["sent"], said["failed"], said["trace"] = done.Acknowledged, done.Sent, done.Failed, view.HopsTold(done.Lookup)
			}
			return terminal.PrintJSON(cmd, said)
		}
		text := fmt.Sprintf("stored under %s for %v", key, time.Duration(done.TTL)*time.Second)
		if replicate {
			text += fmt.Sprintf(": %s acknowledged", terminal.Plural(done.Acknowledged, "node"))
			if done.Failed > 0 {
				text += fmt.Sprintf(", %d did not take it", done.Failed)
			}
		}
		_, err = fmt.Fprintln(cmd.Root().Writer, text)
		return err
	})
}

// lookupHere has the node that runs here find the values of a key.
func lookupHere(ctx context.Context, cmd *cli.Command, key flags.Key) error {
	return here(ctx, cmd, func(ctx context.Context, c *client.Client) error {
		var hops []schema.Hop
		found, err := c.Lookup(ctx, key.Bytes, nil, func(h schema.Hop) {
			hops = append(hops, h)
			if !cmd.Bool("json") && !h.Again { // it was shown when it said what it has
				view.HopTold(h).Print(cmd.Root().Writer)
			}
		})
		if err != nil {
			return endedEarly(ctx, hops, err)
		}
		shown := view.ValuesLooked(found.Values)
		if cmd.Bool("json") {
			err = terminal.PrintJSON(cmd, map[string]any{
				"key": key.String(), "values": shown.Values, "expires_in": append([]int64{}, shown.ExpiresIn...), "proved": shown.Proved, "holders": found.Holders,
				"asked": found.Asked, "answered": found.Answered, "silent": found.Silent, "trace": view.HopsTold(hops),
			})
		} else {
			err = shown.Print(cmd, true)
		}
		if err != nil || found.Result == schema.LookupFound {
			return err
		}
		if found.Result == schema.LookupNoPeers {
			return fmt.Errorf("%w: nothing is stored under %s at the node that runs here, and it knows no other that could be asked", errNotFound, key.Long())
		}
		return tally{found.Asked, found.Answered, found.Silent}.explain(key)
	})
}

// endedEarly says that the time was over, where it was.
func endedEarly(ctx context.Context, hops []schema.Hop, err error) error {
	if ctx.Err() == nil {
		return err
	}
	answered := 0
	for _, h := range hops {
		if h.Error == "" {
			answered++
		}
	}
	return fmt.Errorf("%w: the lookup ended early, after %s answered: %w; --timeout sets how long it may take", proto.ErrUnreachable, terminal.Plural(answered, "node"), ctx.Err())
}
