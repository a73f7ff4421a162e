package local

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/flags"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/terminal"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/internal/api"
)

// Subscribe is the command that prints what is published.
func Subscribe() *cli.Command {
	return &cli.Command{
		Name:      "subscribe",
		Usage:     "print what is published under a pattern, a message a line",
		ArgsUsage: "PATTERN",
		Description: `The node that runs on the data directory subscribes, until the command is
interrupted. Segments of a topic lie between "."; in a PATTERN "*" stands for
any one, "**" for none or more.

A line has the topic, a tab and the payload: its text, or the JSON of what is
no text. With --json it is {"topic", "value"}; bytes that are no text show as
{"$bin": "<hex>"}. It says on the standard error when it has subscribed.`,
		Flags: []cli.Flag{flags.DataDir(), flags.JSON()},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			if n := cmd.Args().Len(); n != 1 {
				return flags.Usagef("want one PATTERN, got %d arguments; %s", n, flags.UsageOf(cmd))
			}
			c, err := ofCommand(cmd)
			if err != nil {
				return err
			}
			subscribed := func() { fmt.Fprintln(cmd.Root().ErrWriter, "macula-node: subscribed") }
			for m, err := range c.Subscribe(ctx, cmd.Args().First(), subscribed) {
				if err != nil {
					if ctx.Err() != nil {
						return nil
					}
					return wrong(err)
				}
				if err := printPublished(cmd, m); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func printPublished(cmd *cli.Command, m api.Published) error {
	if cmd.Bool("json") {
		return terminal.PrintJSON(cmd, m)
	}
	text, isText := m.Value.Bytes()
	if !isText {
		var err error
		if text, err = m.Value.MarshalJSON(); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(cmd.Root().Writer, "%s\t%s\n", oneLine(m.Topic), oneLine(string(text)))
	return err
}

// oneLine is terminal.Legible of what stays on its line.
func oneLine(text string) string {
	legible := []rune(terminal.Legible(text))
	for i, r := range legible {
		if r == '\n' {
			legible[i] = ' '
		}
	}
	return string(legible)
}

// Publish is the command that publishes.
func Publish() *cli.Command {
	return &cli.Command{
		Name:      "publish",
		Usage:     "publish under a topic",
		ArgsUsage: "TOPIC [PAYLOAD|-]",
		Description: `The node that runs on the data directory publishes PAYLOAD as it is, or
nothing where it is left out; - stands for what comes by the standard input.
Erlang clients read JSON. Nobody says whether it arrived.`,
		Flags: []cli.Flag{flags.DataDir(), flags.Timeout(10 * time.Second), flags.JSON()},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			n := cmd.Args().Len()
			if n != 1 && n != 2 {
				return flags.Usagef("want a TOPIC and a PAYLOAD, got %d arguments; %s", n, flags.UsageOf(cmd))
			}
			topic, payload := cmd.Args().Get(0), []byte(cmd.Args().Get(1))
			if cmd.Args().Get(1) == "-" {
				var err error
				if payload, err = io.ReadAll(io.LimitReader(os.Stdin, wire.MaxPayload+1)); err != nil {
					return fmt.Errorf("read the payload: %w", err)
				}
			}
			c, err := ofCommand(cmd)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(ctx, cmd.Duration("timeout"))
			defer cancel()
			if err := c.Publish(ctx, topic, payload); err != nil {
				return wrong(err)
			}
			if cmd.Bool("json") {
				return terminal.PrintJSON(cmd, map[string]any{"topic": topic, "bytes": len(payload)})
			}
			return nil
		},
	}
}
