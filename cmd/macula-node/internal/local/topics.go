package local

import (
	"bytes"
	"context"
	"fmt"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/flags"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/settings"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/terminal"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/msgpack"
	"github.com/macula-mesh/macula-node/node/api/schema"
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

A line has the topic, a tab and the payload: its text where that is one line
of which all can be seen, else its JSON. With --json it is {"topic",
"value"}; bytes that are no text show as {"$bin": "<hex>"}. It says on the
standard error when it has subscribed.`,
		Flags: []cli.Flag{settings.Flag("data-dir"), flags.JSON()},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			if n := cmd.Args().Len(); n != 1 {
				return flags.Usagef("want one PATTERN, got %d arguments; %s", n, flags.UsageOf(cmd))
			}
			if err := flags.CheckText("PATTERN", cmd.Args().First()); err != nil {
				return err
			}
			if note := flags.PatternNote(cmd.Args().First()); note != "" {
				flags.Note(cmd, "%s", terminal.Legible(note))
			}
			c, err := OfCommand(cmd)
			if err != nil {
				return err
			}
			subscribed := func() { fmt.Fprintln(cmd.Root().ErrWriter, "macula-node: subscribed") }
			for m, err := range c.Subscribe(ctx, cmd.Args().First(), subscribed) {
				if err != nil {
					if ctx.Err() != nil {
						return nil
					}
					return Wrong(err)
				}
				if err := printPublished(cmd, m); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func printPublished(cmd *cli.Command, m schema.Published) error {
	if cmd.Bool("json") {
		return terminal.PrintJSON(cmd, m)
	}
	topic, err := oneLine(wire.RawText(m.Topic))
	if err != nil {
		return err
	}
	payload, err := oneLine(m.Value.Raw)
	if err == nil {
		_, err = fmt.Fprintf(cmd.Root().Writer, "%s\t%s\n", topic, payload)
	}
	return err
}

// oneLine returns a text of one line, of which all can be seen, as it is, and of all else
// the JSON.
func oneLine(v wire.Raw) (string, error) {
	text, isText := v.Bytes()
	if isText && utf8.Valid(text) && !bytes.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return string(text), nil
	}
	text, err := v.MarshalJSON()
	return string(msgpack.EscapeJSON(text)), err
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
		Flags: []cli.Flag{settings.Flag("data-dir"), flags.Timeout(10 * time.Second), flags.JSON()},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			n := cmd.Args().Len()
			if n != 1 && n != 2 {
				return flags.Usagef("want a TOPIC and a PAYLOAD, got %d arguments; %s", n, flags.UsageOf(cmd))
			}
			if err := flags.CheckText("TOPIC", cmd.Args().First()); err != nil {
				return err
			}
			topic, payload := cmd.Args().Get(0), []byte(cmd.Args().Get(1))
			if cmd.Args().Get(1) == "-" {
				var err error
				if payload, err = flags.Input("PAYLOAD"); err != nil {
					return err
				}
			}
			c, err := OfCommand(cmd)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(ctx, cmd.Duration("timeout"))
			defer cancel()
			if err := c.Publish(ctx, topic, payload); err != nil {
				return Wrong(err)
			}
			if cmd.Bool("json") {
				return terminal.PrintJSON(cmd, map[string]any{"topic": topic, "bytes": len(payload)})
			}
			return nil
		},
	}
}
