package inspect

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/flags"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/local"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/settings"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/terminal"
	"github.com/macula-mesh/macula-node/node/api/client"
)

// askTime is how long a command may take, unless it says otherwise.
const askTime = 10 * time.Second

// wide shows ids in full.
func wide() cli.Flag {
	return &cli.BoolFlag{Name: "wide", Usage: "print ids and addresses in full, however wide the terminal is"}
}

// common are the flags of every command here.
func common(more ...cli.Flag) []cli.Flag {
	return append([]cli.Flag{settings.Flag("data-dir"), flags.Timeout(askTime), flags.JSON()}, more...)
}

// withNode asks the node within the command's time.
func withNode(ctx context.Context, cmd *cli.Command, f func(context.Context, *client.Client) error) error {
	c, err := local.OfCommand(cmd)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, cmd.Duration("timeout"))
	defer cancel()
	return local.Wrong(f(ctx, c))
}

// shows is a command without arguments that prints what is at a path, as JSON or as a table.
func shows[T any](name, usage, description, path string, table func(cmd *cli.Command, out io.Writer, v T)) *cli.Command {
	return &cli.Command{Name: name, Usage: usage, Description: description, Flags: common(wide()),
		Action: func(ctx context.Context, cmd *cli.Command) error {
			if err := noArgs(cmd); err != nil {
				return err
			}
			return withNode(ctx, cmd, func(ctx context.Context, c *client.Client) error {
				v, err := client.Get[T](ctx, c, path)
				if err != nil {
					return err
				}
				return print(cmd, v, func(out io.Writer) { table(cmd, out, v) })
			})
		}}
}

func noArgs(cmd *cli.Command) error {
	if cmd.Args().Present() {
		return flags.Usagef("%s takes no arguments, but got %q; see %s --help", cmd.Name, cmd.Args().First(), cmd.FullName())
	}
	return nil
}

// print prints JSON, or a table.
func print(cmd *cli.Command, v any, table func(out io.Writer)) error {
	if cmd.Bool("json") {
		return terminal.PrintJSON(cmd, v)
	}
	return terminal.Table(cmd.Root().Writer, table)
}

// idWidth is how many characters of an id are shown.
const idWidth = 12

// id shortens an id to its beginning and its end, unless all is wanted.
func id(cmd *cli.Command, text string) string { return short(cmd, text, idWidth) }

// short keeps a text to so many characters, unless all is wanted.
func short(cmd *cli.Command, text string, most int) string {
	text = terminal.Legible(text)
	runes := []rune(text)
	if cmd.Bool("wide") || len(runes) <= most {
		return text
	}
	tail := most / 3
	return string(runes[:most-tail-1]) + "…" + string(runes[len(runes)-tail:])
}

func ago(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return brief(time.Since(*t))
}

// brief is a time in one unit.
func brief(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}

func latency(ms float64) string {
	switch {
	case ms == 0:
		return "-"
	case ms < 10:
		return fmt.Sprintf("%.1fms", ms)
	}
	return fmt.Sprintf("%.0fms", ms)
}

func dash(text string) string {
	if strings.TrimSpace(text) == "" {
		return "-"
	}
	return text
}
