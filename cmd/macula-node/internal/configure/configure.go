// Package configure has the commands that write, check and show the configuration.
package configure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/flags"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/settings"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/terminal"
	"github.com/macula-mesh/macula-node/internal/datadir"
)

// Command is the command that has the others below it.
func Command() *cli.Command {
	return &cli.Command{
		Name:  "config",
		Usage: "write, check or show the configuration of run",
		Description: `run is configured by a file in TOML, by environment variables, which go
before it, and by flags, which go before both. The file is that of --config
or MACULA_CONFIG, else macula.toml in the data directory, if it is there.`,
		Commands: []*cli.Command{initCommand(), checkCommand(), showCommand()},
		Action: func(_ context.Context, cmd *cli.Command) error {
			if cmd.Args().Present() {
				return flags.Usagef("there is no command %q of config, there are: init, check, show; see macula-node config --help", cmd.Args().First())
			}
			return flags.Usagef("write config init, config check or config show; see macula-node config --help")
		},
	}
}

func initCommand() *cli.Command {
	return &cli.Command{
		Name:      "init",
		Usage:     "write a file that explains every setting",
		ArgsUsage: "[FILE | -]",
		Description: `The file has each setting with its default, commented out. Without FILE it is
macula.toml in the data directory, where run looks for it; - is standard
output. What is there already is not overwritten.`,
		Flags: []cli.Flag{settings.Flag("data-dir"), flags.JSON()},
		Action: func(_ context.Context, cmd *cli.Command) error {
			name, err := fileOf(cmd)
			if err != nil {
				return err
			}
			var text bytes.Buffer
			if err := settings.WriteTemplate(&text); err != nil {
				return err
			}
			if name == "-" {
				_, err := text.WriteTo(cmd.Root().Writer)
				return err
			}
			if err := write(name, text.Bytes()); err != nil {
				return flags.Usage(err)
			}
			if cmd.Bool("json") {
				return terminal.PrintJSON(cmd, map[string]string{"file": name})
			}
			_, err = fmt.Fprintf(cmd.Root().Writer, "written: %s\n", terminal.Legible(name))
			return err
		},
	}
}

// fileOf returns the FILE of init, by default that of the data directory, which is made.
func fileOf(cmd *cli.Command) (string, error) {
	switch cmd.Args().Len() {
	case 0:
		dir, err := settings.DataDir(cmd)
		if err != nil {
			return "", err
		}
		if err := datadir.MakePrivate(dir); err != nil {
			return "", flags.Usage(err)
		}
		return filepath.Join(dir, settings.FileName), nil
	case 1:
		return cmd.Args().First(), nil
	}
	return "", flags.Usagef("want one FILE at most, got %d arguments; %s", cmd.Args().Len(), flags.UsageOf(cmd))
}

// write writes a file that is not there yet, for its user alone, whole or not at all.
func write(name string, text []byte) (err error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("there is a file %s already: write the name of another, or move it away", name)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err != nil {
		err = errors.Join(err, os.Remove(name))
	}
	return err
}

func checkCommand() *cli.Command {
	return &cli.Command{
		Name:      "check",
		Usage:     "say what is wrong with the configuration, and in which line",
		ArgsUsage: "[FILE]",
		Description: `It reads FILE, or that which run would, with the environment, and says all
values that are wrong, with the line and what is allowed. Where none is, it
says what is wrong with them together, and with the files that they name.
Whether addresses and ports can be listened on only run can tell.`,
		Flags: []cli.Flag{settings.Flag("data-dir"), flags.JSON()},
		Action: func(_ context.Context, cmd *cli.Command) error {
			given := settings.Given{Flag: settings.Typed(cmd), File: cmd.String("config")}
			switch n := cmd.Args().Len(); {
			case n > 1:
				return flags.Usagef("want one FILE at most, got %d arguments; %s", n, flags.UsageOf(cmd))
			case n == 1:
				given.File = cmd.Args().First()
			}
			e, err := settings.Resolve(given)
			if err != nil {
				flags.Note(cmd, "values were looked at one by one; how they go together, and the files that they name, is looked at once this is right:")
				return err
			}
			cfg, err := e.Node("")
			if err != nil {
				return err
			}
			if err := cfg.Check(); err != nil {
				return flags.Usage(e.Named(err))
			}
			if e.File == "" {
				return flags.Usagef("there is no configuration file, and nothing is wrong with the environment: macula-node config init writes one; %s", flags.UsageOf(cmd))
			}
			return reported(cmd, e)
		},
	}
}

// reported says that nothing is wrong.
func reported(cmd *cli.Command, e *settings.Effective) error {
	unknown := settings.UnknownVariables()
	for _, text := range unknown {
		flags.Note(cmd, "%s", terminal.Legible(text))
	}
	set := 0
	for _, v := range e.Values {
		if v.Source == settings.FromFile {
			set++
		}
	}
	if cmd.Bool("json") {
		return terminal.PrintJSON(cmd, map[string]any{"file": e.File, "settings": set, "warnings": append([]string{}, unknown...)})
	}
	_, err := fmt.Fprintf(cmd.Root().Writer, "%s is right: of %s it says something\n", terminal.Legible(e.File), terminal.Plural(set, "setting"))
	return err
}

func showCommand() *cli.Command {
	return &cli.Command{
		Name:  "show",
		Usage: "print what is in force, and where each value comes from",
		Description: `It takes the flags of run, and prints what run would go by: a file in TOML
that can be put in again, with defaults commented out. Behind each value is
where it comes from: default, the file's line, a variable or a flag.
Passwords are not shown. With --json it is {"file", "settings": [{"key",
"value", "source", "where"}]}.`,
		Flags: append(settings.Flags(), flags.JSON()),
		Action: func(_ context.Context, cmd *cli.Command) error {
			if cmd.Args().Present() {
				return flags.Usagef("show takes no arguments, but got %q; see macula-node config show --help", cmd.Args().First())
			}
			e := settings.Of(cmd)
			if cmd.Bool("json") {
				return terminal.PrintJSON(cmd, map[string]any{"file": e.File, "settings": e.Shown()})
			}
			return e.WriteText(cmd.Root().Writer)
		},
	}
}
