// Command macula-node runs a Macula DHT peer, and asks one.
//
//	macula-node run
//	macula-node put --service greeter '{"node_id": "2bd806c97f0e00af1a1fc3328fa763a9269723c8db8fac4f93af71db186d6e90", "endpoint": "https://127.0.0.1:8080"}'
//	macula-node get --service greeter
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/configure"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/flags"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/inspect"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/local"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/settings"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/terminal"
	"github.com/macula-mesh/macula-node/compat/dialer/safety"
	"github.com/macula-mesh/macula-node/internal/logs/early"
	"github.com/macula-mesh/macula-node/internal/wrap"
	"github.com/macula-mesh/macula-node/node/api/schema"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// Exit codes, for scripts.
const (
	exitOK          = 0
	exitNotFound    = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitStopped     = 4
)

func main() {
	early.Restore()
	keepPrivate()
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	ctx, cancel := context.WithCancel(context.Background())
	var stop stopping
	go untilSignals(signals, nil, cancel, &stop, os.Stderr, os.Exit)
	os.Exit(run(withStopping(ctx, &stop), os.Args, os.Stdout, os.Stderr))
}

// run is the program, with its exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	out := &answer{to: stdout}
	app := newApp(out, stderr)
	app.Metadata = map[string]any{flags.Typed: args}
	acts := false
	each(app, func(c *cli.Command) {
		action := c.Action
		c.Action = func(ctx context.Context, cmd *cli.Command) error {
			acts = true
			return action(ctx, cmd)
		}
	})
	err := knownCommand(app, args)
	if err == nil {
		err = app.Run(ctx, args)
	}
	if err != nil && !acts && !flags.IsUsage(err) { // such as a variable's value that can not be read
		err = flags.Usage(err)
	}
	if helpless, ok := errors.AsType[cli.ExitCoder](err); ok { // "help" for what there is not
		err = flags.Usagef("%w; see macula-node --help", helpless)
	}
	if err != nil {
		said := "macula-node: " + terminal.Legible(err.Error())
		if terminal.IsOne(stderr) {
			said = strings.Join(wrap.Words(said, wrap.Columns), "\n")
		}
		fmt.Fprintln(stderr, said)
		if !out.begun && asksForJSON(args) {
			_ = terminal.WriteJSON(stdout, errorView{terminal.Legible(err.Error()), exitCode(err)}) // nobody is left to be told
		}
	}
	return exitCode(err)
}

// errorView is what --json prints where there is nothing else to print.
type errorView struct {
	Error string `json:"error"`
	Code  int    `json:"code"` // the exit code
}

// answer knows whether a command has printed anything.
type answer struct {
	to    io.Writer
	begun bool
}

func (a *answer) Write(p []byte) (int, error) {
	a.begun = true
	return a.to.Write(p)
}

// asksForJSON reports whether a command line has --json, be it otherwise wrong.
func asksForJSON(args []string) (asks bool) {
	for _, arg := range args {
		name, value, valued := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		switch {
		case arg == "--":
			return asks
		case strings.HasPrefix(arg, "-") && name == "json":
			on, err := strconv.ParseBool(value)
			asks = !valued || on && err == nil
		}
	}
	return asks
}

// errNotFound ends a command that found nothing.
var errNotFound = errors.New("not found")

func exitCode(err error) int {
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errNotFound), errors.Is(err, inspect.ErrMissing), errors.Is(err, local.ErrUnserved), errors.Is(err, errUnwell):
		return exitNotFound
	case errors.Is(err, errUndone):
		return exitStopped
	case flags.IsUsage(err),
		errors.Is(err, safety.ErrHarmful),
		errors.Is(err, safety.ErrTooLargeForPeer),
		errors.Is(err, proto.ErrInvalidRequest):
		return exitUsage
	default:
		return exitUnreachable
	}
}

func newApp(stdout, stderr io.Writer) *cli.Command {
	app := &cli.Command{
		Name:    "macula-node",
		Usage:   "a peer of Macula's DHT, for libp2p and for Erlang nodes",
		Version: version(),
		Description: `"macula-node run" starts a peer. The other commands ask one, at an ADDR that
is a libp2p multiaddr with /p2p, or https://HOST:PORT to speak as Erlang
nodes do. Without ADDR get and put ask the one that runs on the data
directory, and lookup begins there.

Exit codes: 0 found or ok, 1 not found or not well, 2 wrong usage,
3 unreachable, refused or not running, 4 ended before the stop was done, by a
second signal or as it took longer than 5 s. With --json a command prints one
line: what came of it, be it that nothing was found, or {"error", "code"}
where it could not ask.`,
		Writer:         stdout,
		ErrWriter:      stderr,
		ExitErrHandler: func(context.Context, *cli.Command, error) {}, // run prints and returns the code
		Action: func(_ context.Context, cmd *cli.Command) error {
			if !cmd.Args().Present() {
				return cli.ShowAppHelp(cmd)
			}
			return noCommand(cmd, cmd.Args().First())
		},
		Commands: []*cli.Command{
			runCommand(),
			statusCommand(),
			idCommand(),
			pingCommand(),
			findNodeCommand(),
			getCommand(),
			lookupCommand(),
			putCommand(),
			local.Call(),
			local.Serve(),
			gatewaysCommand(),
			local.Subscribe(),
			local.Publish(),
			local.Watch(),
			inspect.Peers(),
			inspect.Table(),
			inspect.Uplinks(),
			inspect.Clients(),
			inspect.Records(),
			inspect.Why(),
			inspect.Advertise(),
			inspect.Withdraw(),
			inspect.Events(),
			inspect.Ban(),
			doctorCommand(),
			backupCommand(),
			configure.Command(),
			versionCommand(),
		},
	}
	app.EnableShellCompletion = true
	app.ConfigureShellCompletionCommand = func(c *cli.Command) {
		c.Hidden, c.Usage = false, "print what completes commands and flags in a shell"
	}
	onUsage := func(_ context.Context, cmd *cli.Command, err error, _ bool) error {
		return flags.Usagef("%w%s; see %s --help", err, nearestFlag(cmd, err), cmd.FullName())
	}
	app.OnUsageError = onUsage
	each(app, func(c *cli.Command) {
		settings.Attach(c)
		c.OnUsageError = onUsage
		if len(c.Commands) == 0 {
			c.CustomHelpTemplate = helpTemplate(c)
		}
		c.HideHelpCommand = true // else nothing could be asked for the key "help"
	})
	return app
}

// each calls f with all commands below one.
func each(above *cli.Command, f func(*cli.Command)) {
	for _, c := range above.Commands {
		f(c)
		each(c, f)
	}
}

// knownCommand returns an error where a command line begins with what is no command: with
// its flags, which are none of the program's, another one would be said.
func knownCommand(app *cli.Command, args []string) error {
	if len(args) < 2 || strings.HasPrefix(args[1], "-") || app.Command(args[1]) != nil || slices.Contains([]string{"help", "h", "completion"}, args[1]) ||
		args[len(args)-1] == "--generate-shell-completion" {
		return nil
	}
	return noCommand(app, args[1])
}

// nearestFlag says which flag may be meant where one is not there, in words that go on from
// the error.
func nearestFlag(cmd *cli.Command, err error) string {
	_, typed, none := strings.Cut(err.Error(), "not defined: -")
	if !none {
		return ""
	}
	var names []string
	for _, f := range cmd.Flags {
		names = append(names, f.Names()[0])
	}
	near := flags.Nearest(typed, names)
	if near == "" {
		return ""
	}
	return ": did you mean --" + near + "?"
}

func noCommand(app *cli.Command, name string) error {
	var names []string
	for _, c := range app.VisibleCommands() {
		names = append(names, c.Name)
	}
	if near := flags.Nearest(name, names); near != "" {
		return flags.Usagef("there is no command %q: did you mean %s? There are: %s; see macula-node --help", name, near, strings.Join(names, ", "))
	}
	return flags.Usagef("there is no command %q, there are: %s; see macula-node --help", name, strings.Join(names, ", "))
}

// stamped is the version of a release, set by the linker.
var stamped string

// version returns the version of a release, else of the module, else "devel".
func version() string {
	if stamped != "" {
		return stamped
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	return "devel"
}

func versionCommand() *cli.Command {
	return &cli.Command{
		Name:  "version",
		Usage: "print which program this is",
		Flags: []cli.Flag{flags.JSON()},
		Action: func(_ context.Context, cmd *cli.Command) error {
			if cmd.Args().Present() {
				return flags.Usagef("version takes no arguments, but got %q; see macula-node version --help", cmd.Args().First())
			}
			v := schema.Version{Version: version(), Go: runtime.Version()}
			if cmd.Bool("json") {
				return terminal.PrintJSON(cmd, v)
			}
			_, err := fmt.Fprintf(cmd.Root().Writer, "macula-node %s, %s, %s/%s\n", v.Version, v.Go, runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}
