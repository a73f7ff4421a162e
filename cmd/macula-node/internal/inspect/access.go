package inspect

import (
	"context"
	"fmt"
	"io"

	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/flags"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/terminal"
	"github.com/macula-mesh/macula-node/node/api/client"
	"github.com/macula-mesh/macula-node/node/api/schema"
)

// Ban is the command that keeps somebody away.
func Ban() *cli.Command {
	return &cli.Command{
		Name: "ban", Usage: "keep a peer or an address away from the node here",
		ArgsUsage: "[ENTRY]",
		Description: `ENTRY is a peer id, an address or an address range. Its connections are
closed. It is written into the file of --deny where the node has one, and
else holds until the node ends, which is said. --remove takes an entry off
the list again; without an ENTRY the list is printed.`,
		Flags: common(&cli.BoolFlag{Name: "remove", Usage: "take the entry off the list"}),
		Action: func(ctx context.Context, cmd *cli.Command) error {
			n := cmd.Args().Len()
			if n > 1 || n == 0 && cmd.Bool("remove") {
				return flags.Usagef("want one ENTRY, got %d arguments; %s", n, flags.UsageOf(cmd))
			}
			if err := flags.CheckText("ENTRY", cmd.Args().First()); err != nil {
				return err
			}
			return withNode(ctx, cmd, func(ctx context.Context, c *client.Client) error {
				if n == 0 {
					return printBans(ctx, cmd, c)
				}
				path := "/v1/ban"
				if cmd.Bool("remove") {
					path = "/v1/unban"
				}
				done, err := client.Post[schema.Ban](ctx, c, path, schema.BanRequest{Entry: cmd.Args().First()})
				if err != nil {
					return err
				}
				return print(cmd, done, func(out io.Writer) { fmt.Fprintln(out, banText(cmd, done)) })
			})
		},
	}
}

func banText(cmd *cli.Command, b schema.Ban) string {
	if cmd.Bool("remove") {
		return terminal.Legible(b.Entry) + " may come again"
	}
	text := terminal.Legible(b.Entry) + " is kept away"
	if !b.Changed {
		text = terminal.Legible(b.Entry) + " was kept away already"
	}
	if b.Kept {
		text += ", also after a restart"
	} else {
		text += " until the node ends: " + terminal.Legible(b.Why)
	}
	if b.Closed > 0 {
		text += "; closed " + terminal.Plural(b.Closed, "connection")
	}
	return text
}

func printBans(ctx context.Context, cmd *cli.Command, c *client.Client) error {
	all, err := client.Get[schema.Bans](ctx, c, "/v1/bans")
	if err != nil {
		return err
	}
	return print(cmd, all, func(out io.Writer) {
		if len(all.Entries) == 0 {
			fmt.Fprintln(out, "nobody is kept away by the deny list")
		}
		for _, e := range all.Entries {
			fmt.Fprintln(out, e)
		}
	})
}
