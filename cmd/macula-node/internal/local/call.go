package local

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/flags"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/settings"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/terminal"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/msgpack"
	"github.com/macula-mesh/macula-node/node/api/schema"
)

// callTime is how long a call may take, unless the command says otherwise.
const callTime = 10 * time.Second

// Call is the command that calls a procedure.
func Call() *cli.Command {
	return &cli.Command{
		Name:      "call",
		Usage:     "call a procedure, wherever it is served",
		ArgsUsage: "PROCEDURE [ARGS | -]",
		Description: `The node that runs on the data directory calls it: at an Erlang node, at a
libp2p peer, or behind another node. ARGS is JSON, {} without it; - reads it
from standard input. The result is printed as one line of JSON; bytes that
are no text show as {"$bin": "<hex>"}.

Exit codes: 0 a result, 1 nobody serves the procedure, 2 wrong usage, 3 it
failed, was not answered in time, or the node does not run.`,
		Flags: []cli.Flag{settings.Flag("data-dir"), flags.Timeout(callTime), flags.JSON()},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			n := cmd.Args().Len()
			if n < 1 || n > 2 {
				return flags.Usagef("want PROCEDURE and ARGS, got %d arguments; %s", n, flags.UsageOf(cmd))
			}
			if err := flags.CheckText("PROCEDURE", cmd.Args().First()); err != nil {
				return err
			}
			args, err := callArgs(cmd.Args().Get(1))
			if err != nil {
				return err
			}
			c, err := OfCommand(cmd)
			if err != nil {
				return err
			}
			timeout := min(cmd.Duration("timeout"), time.Minute)
			ctx, cancel := context.WithTimeout(ctx, timeout+time.Second)
			defer cancel()
			answer, err := c.Call(ctx, schema.CallRequest{Procedure: cmd.Args().First(), Args: args, Timeout: timeout.Seconds()})
			switch {
			case err != nil:
				return Wrong(err)
			case answer.Error != nil && answer.Error.Unserved:
				return fmt.Errorf("%w: %w", ErrUnserved, answer.Error)
			case answer.Error != nil:
				return answer.Error
			case cmd.Bool("json"):
				return terminal.PrintJSON(cmd, answer)
			}
			text, err := answer.Result.MarshalJSON()
			if err == nil {
				_, err = fmt.Fprintf(cmd.Root().Writer, "%s\n", msgpack.EscapeJSON(text))
			}
			return err
		},
	}
}

// callArgs returns the value of the JSON that is typed, or read.
func callArgs(typed string) (args schema.Value, err error) {
	text := []byte(typed)
	switch typed {
	case "":
		text = []byte("{}")
	case "-":
		if text, err = flags.Input("ARGS"); err != nil {
			return args, err
		}
	}
	if err := flags.CheckText("ARGS", string(text)); err != nil {
		return args, err
	}
	if args.Raw, err = wire.FromJSON(text); err != nil {
		return args, flags.Usagef("ARGS '%s': %w; write JSON, such as '{\"x\": 1}'", flags.Shorten(string(text)), err)
	}
	return args, nil
}
