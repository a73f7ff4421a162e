package local

import (
	"context"
	"fmt"
	"os/exec"
	"sync"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/flags"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/runner"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/settings"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/terminal"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/node/api/client"
	"github.com/macula-mesh/macula-node/node/api/schema"
)

const (
	serveTime   = 4 * time.Second // less than an Erlang caller waits
	answerTime  = 5 * time.Second
	serveAtOnce = 8
)

// Serve is the command that serves one by a command.
func Serve() *cli.Command {
	return &cli.Command{
		Name:      "serve",
		Usage:     "serve a procedure with a command",
		ArgsUsage: "PROCEDURE -- COMMAND [ARG…]",
		Description: `The node that runs on the data directory serves the procedure, for Erlang
nodes and libp2p peers, as long as this command runs. Each call runs COMMAND,
which reads the args as JSON from standard input and prints the result as
JSON. Where it ends with another code than 0, its caller is told what it
wrote to standard error, 4 KiB at most. It is killed when its time is over.`,
		Flags: []cli.Flag{settings.Flag("data-dir"), flags.JSON(),
			&cli.DurationFlag{Name: "time-limit", Usage: "how long COMMAND may take for a call", Value: serveTime, Validator: func(d time.Duration) error {
				if d <= 0 || d > time.Minute {
					return flags.Usagef("want more than 0 and at most 1m, got %v", d)
				}
				return nil
			}},
			&cli.IntFlag{Name: "at-once", Usage: "how many calls run COMMAND at a time, three quarters of them of one caller; others wait for their turn", Value: serveAtOnce, Validator: func(n int) error {
				if n < 1 || n > 1000 {
					return flags.Usagef("want 1 to 1000, got %d", n)
				}
				return nil
			}},
		},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			args := cmd.Args().Slice()
			if len(args) < 2 {
				return flags.Usagef("want PROCEDURE and, behind --, COMMAND, got %d arguments; %s", len(args), flags.UsageOf(cmd))
			}
			if !flags.BehindDashes(cmd, len(args)-1) {
				return flags.Usagef("COMMAND %q is not behind --, so that its options would be taken for those of serve; %s", args[1], flags.UsageOf(cmd))
			}
			if err := flags.CheckText("PROCEDURE", args[0]); err != nil {
				return err
			}
			if _, err := exec.LookPath(args[1]); err != nil {
				return flags.Usagef("COMMAND: %w", err)
			}
			c, err := OfCommand(cmd)
			if err != nil {
				return err
			}
			return serveWith(ctx, cmd, c, args[0], args[1:])
		},
	}
}

// serveWith serves a procedure until ctx ends.
func serveWith(ctx context.Context, cmd *cli.Command, c *client.Client, procedure string, command []string) error {
	var running sync.WaitGroup
	defer running.Wait()
	var mu sync.Mutex
	over := make(map[string]context.CancelFunc) // by the id of a call that runs
	asked := schema.ServeRequest{Procedure: procedure, AtOnce: cmd.Int("at-once")}
	err := c.Serve(ctx, asked, func(call schema.ServedCall) {
		switch {
		case call.ID == "":
			saysServed(cmd, procedure)
			return
		case call.Over:
			mu.Lock()
			defer mu.Unlock()
			if end := over[call.ID]; end != nil {
				end()
			}
			return
		}
		callCtx, end := context.WithCancel(ctx)
		mu.Lock()
		over[call.ID] = end
		mu.Unlock()
		running.Go(func() {
			answer := runCall(callCtx, cmd.Duration("time-limit"), command, call.Args)
			mu.Lock()
			delete(over, call.ID)
			mu.Unlock()
			end()
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTime)
			defer cancel()
			_ = c.Answer(ctx, schema.AnswerRequest{Serving: call.Serving, ID: call.ID, Result: answer.Result, Error: answer.Error}) // else it is over
		})
	})
	if ctx.Err() != nil {
		return nil // it was to end
	}
	return Wrong(err)
}

// runCall runs the command for a call.
func runCall(ctx context.Context, limit time.Duration, command []string, given schema.Value) schema.CallAnswer {
	args, err := given.MarshalJSON()
	if err != nil {
		return schema.CallAnswer{Error: &schema.CallError{Code: wire.CodeHandlerError, Message: err.Error()}}
	}
	return runner.Run(ctx, limit, command, args)
}

func saysServed(cmd *cli.Command, procedure string) {
	if cmd.Bool("json") {
		_ = terminal.PrintJSON(cmd, map[string]string{"procedure": procedure, "status": "served"})
		return
	}
	fmt.Fprintf(cmd.Root().Writer, "serving %s\n", terminal.Legible(procedure))
}
