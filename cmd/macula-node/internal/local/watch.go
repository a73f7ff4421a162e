package local

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/flags"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/settings"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/terminal"
)

// Watch is the command that tells what happens to the records of a key.
func Watch() *cli.Command {
	return &cli.Command{
		Name:      "watch",
		Usage:     "print what happens to a key's values, anywhere in the network",
		ArgsUsage: "KEY | --service NAME | --topic NAME",
		Description: flags.KeyHelp + `

The node that runs on the data directory watches the key, until the command
is interrupted. A line has what happened (came, changed, withdrawn, expired),
a tab and the value; first come those that there are. With --json it is
{"event", "value", "proved", "expires_in"}. What Erlang nodes hold is seen
where no libp2p peer has anything under the key, later than else.`,
		Flags: append(flags.Keys(), settings.Flag("data-dir"), flags.JSON()),
		Action: func(ctx context.Context, cmd *cli.Command) error {
			key, others, err := flags.SplitKey(cmd, cmd.Args().Slice())
			if err != nil {
				return err
			}
			if len(others) > 0 {
				return flags.Usagef("want one KEY, got %d arguments more; %s", len(others), flags.UsageOf(cmd))
			}
			c, err := OfCommand(cmd)
			if err != nil {
				return err
			}
			for e, err := range c.Watch(ctx, key.Bytes, func() { fmt.Fprintln(cmd.Root().ErrWriter, "macula-node: watching") }) {
				if err == nil && cmd.Bool("json") {
					err = terminal.PrintJSON(cmd, e)
				} else if err == nil {
					var text string
					if text, err = oneLine(e.Value.Raw); err == nil {
						_, err = fmt.Fprintf(cmd.Root().Writer, "%s\t%s\n", e.Event, text)
					}
				}
				if err != nil {
					if ctx.Err() != nil {
						return nil
					}
					return Wrong(err)
				}
			}
			return nil
		},
	}
}
