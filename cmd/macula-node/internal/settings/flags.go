package settings

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/flags"
)

// Flag is the flag of a setting, by its key.
func Flag(key string) cli.Flag { return flagOf(Lookup(key)) }

// Saying is the flag of a setting in a command that says of it in other words what it is.
func Saying(key, usage string) cli.Flag {
	s := *Lookup(key)
	s.Usage = usage
	return flagOf(&s)
}

// Flags returns the flags of all settings.
func Flags() (all []cli.Flag) {
	for _, s := range Table() {
		all = append(all, flagOf(s))
	}
	return all
}

// TLS are the flags that say which certificates are accepted from Erlang nodes, and more.
func TLS(more ...cli.Flag) []cli.Flag {
	return append(more, Flag("tls.mode"), Flag("tls.ca"), Flag("tls.verify-hostname"))
}

// configFlag names the configuration file.
func configFlag() cli.Flag {
	return &cli.StringFlag{Name: "config", Usage: fmt.Sprintf("`FILE` of the configuration, in TOML (default: %s in the data directory, if it is there) [%s]", FileName, Variable)}
}

// flagOf is the flag of a setting.
func flagOf(s *Setting) cli.Flag {
	usage := s.Usage
	switch text := strings.Join(s.Default, ","); {
	case s.Kind == Bool && text == "false":
	case text != "":
		usage += fmt.Sprintf(" (default: %s)", text)
	case s.Otherwise != "":
		usage += fmt.Sprintf(" (default: %s)", s.Otherwise)
	}
	source := cli.NewValueSourceChain(variable(s.Variable))
	switch {
	case s.Kind == List:
		return &cli.StringSliceFlag{Name: s.Flag, Usage: usage, Sources: source}
	case s.Kind == Bool && !s.word:
		return &cli.BoolFlag{Name: s.Flag, Usage: usage, Value: slices.Equal(s.Default, []string{"true"}), HideDefault: true, Sources: source}
	}
	return &cli.StringFlag{Name: s.Flag, Usage: usage, Value: strings.Join(s.Default, ","), HideDefault: true, Sources: source}
}

// variable has the help name an environment variable. What it says is for Resolve to look up,
// which the file stands behind.
type variable string

var _ cli.EnvValueSource = variable("")

func (variable) Lookup() (string, bool) { return "", false }
func (v variable) String() string       { return "$" + string(v) }
func (v variable) GoString() string     { return fmt.Sprintf("variable(%q)", string(v)) }
func (variable) IsFromEnv() bool        { return true }
func (v variable) Key() string          { return string(v) }

// effective is under what the program has what is in force, in its metadata.
const effective = "settings"

// Of returns what is in force of the settings of a command.
func Of(cmd *cli.Command) *Effective {
	e, _ := cmd.Root().Metadata[effective].(*Effective)
	return e
}

// Attach has a command's action find its flags as the environment and the file say, where the
// command line does not, if any of them are of settings.
func Attach(cmd *cli.Command) {
	if len(settingsOf(cmd)) == 0 {
		return
	}
	cmd.Flags = append(cmd.Flags, configFlag())
	act := cmd.Action
	cmd.Action = func(ctx context.Context, cmd *cli.Command) error {
		if err := resolve(cmd); err != nil {
			return err
		}
		return act(ctx, cmd)
	}
}

func resolve(cmd *cli.Command) error {
	own := settingsOf(cmd)
	if cmd.Bool(HelpAll) {
		return nil
	}
	given := Given{Flag: Typed(cmd), File: cmd.String("config")}
	given.NamedOnly = slices.Equal(own, []string{"data-dir"}) // which the file there can not say
	if len(own) < len(Table()) {
		given.Wanted = func(key string) bool { return slices.Contains(own, key) }
	}
	if cmd.IsSet("config") && given.File == "" {
		return flags.Usagef("--config is empty: write the file, or leave it out")
	}
	e, err := Resolve(given)
	if err != nil {
		return err
	}
	for _, v := range e.Values {
		if v.Source != FromFile && v.Source != FromEnvironment {
			continue
		}
		for _, text := range v.Texts {
			if err := cmd.Set(v.Flag, text); err != nil {
				return v.wrong(err)
			}
		}
	}
	cmd.Root().Metadata[effective] = e
	return nil
}

// settingsOf returns which settings a command has flags of, by their keys.
func settingsOf(cmd *cli.Command) (keys []string) {
	for _, s := range Table() {
		if slices.ContainsFunc(cmd.Flags, func(f cli.Flag) bool {
			of, is := f.(cli.DocGenerationFlag)
			return is && f.Names()[0] == s.Flag && slices.Contains(of.GetEnvVars(), s.Variable)
		}) {
			keys = append(keys, s.Key)
		}
	}
	return keys
}

// Typed returns what was typed for the flags of a command.
func Typed(cmd *cli.Command) func(name string) ([]string, bool) {
	return func(name string) ([]string, bool) {
		if !cmd.IsSet(name) {
			return nil, false
		}
		switch v := cmd.Value(name).(type) {
		case []string:
			return v, true
		default:
			return []string{fmt.Sprint(v)}, true
		}
	}
}
