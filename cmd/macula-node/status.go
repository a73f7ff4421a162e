package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/flags"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/local"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/settings"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/terminal"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/view"
	"github.com/macula-mesh/macula-node/node/api/schema"
)

func statusCommand() *cli.Command {
	return &cli.Command{
		Name:  "status",
		Usage: "say how the node is that runs on the data directory",
		Description: `Exit codes: 0 it runs and is well, 1 it runs and is not well, 2 wrong usage,
3 it does not run, or does not answer. With --alive, for who would end a node
else that is to wait for its network, 0 is that it answers.`,
		Flags: []cli.Flag{&cli.BoolFlag{Name: "alive", Usage: "go by whether it answers, be it not well"}, settings.Flag("data-dir"), flags.Timeout(10 * time.Second), flags.JSON()},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			if cmd.Args().Present() {
				return flags.Usagef("status takes no arguments, but got %q; see macula-node status --help", cmd.Args().First())
			}
			dir, err := settings.DataDir(cmd)
			if err != nil {
				return err
			}
			c, r, err := local.Open(dir)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(ctx, cmd.Duration("timeout"))
			defer cancel()
			s, err := c.Status(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", r, err)
			}
			return printStatus(cmd, s)
		},
	}
}

func printStatus(cmd *cli.Command, s schema.Status) error {
	var err error
	if cmd.Bool("json") {
		err = terminal.PrintJSON(cmd, s)
	} else {
		err = view.Status(cmd.Root().Writer, s)
	}
	if err == nil && len(s.Problems) > 0 && !cmd.Bool("alive") {
		err = fmt.Errorf("%w: %s", errUnwell, strings.Join(s.Problems, "; "))
	}
	return err
}
