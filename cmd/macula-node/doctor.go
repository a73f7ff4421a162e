package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/ask"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/flags"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/settings"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/terminal"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/view"
	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/compat/doctor"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
)

// errUnwell ends a doctor that found something wrong.
var errUnwell = errors.New("not well")

func doctorCommand() *cli.Command {
	return &cli.Command{
		Name:      "doctor",
		Usage:     "look at a gateway: reachable, its realm, what it stores, how fast",
		ArgsUsage: "https://HOST:PORT [KEY…]",
		Description: `It asks the gateway as Erlang nodes do and prints a line for each thing that
it looked at: ok, FAIL, note for what is unusual, or skipped and why; and in
the end what to do.

It is safe in production: one question at a time, none that an Erlang node
was ever hurt by, and none any more once it has kept silent. It does not
CONNECT. Name with --service, --topic and KEY, each repeatable, only what the
gateway should have: it asks all nodes that it knows for what it has not.

--write stores two small values under a random key and reads them back. An
Erlang node keeps them until it is restarted, and may pass them on; without
--write nothing is written.

Exit codes: 0 nothing failed, 1 a check failed, 2 wrong usage, 3 unreachable,
refused, or it does not answer a PING.`,
		Flags: settings.TLS(
			&cli.StringFlag{Name: "realm", Usage: "`NAME` of the realm that it should serve (default: any)"},
			&cli.StringSliceFlag{Name: "service", Usage: "`NAME` of a service that it should know, repeatable"},
			&cli.StringSliceFlag{Name: "topic", Usage: "`NAME` of a topic that it should know, repeatable"},
			&cli.BoolFlag{Name: "write", Usage: "store two values and read them back"},
			flags.Timeout(time.Minute),
			flags.JSON(),
		),
		DisableSliceFlagSeparator: true, // a comma may be part of a name
		Action:                    examine,
	}
}

func examine(ctx context.Context, cmd *cli.Command) error {
	if !cmd.Args().Present() {
		return flags.Usagef("the endpoint is missing; %s", flags.UsageOf(cmd))
	}
	endpoint := cmd.Args().First()
	at, err := identity.ParsePinnedEndpoint(endpoint)
	if err != nil {
		return flags.Usagef("%w; %s", err, flags.UsageOf(cmd))
	}
	keys, err := expectedKeys(cmd)
	if err != nil {
		return err
	}
	timeout := cmd.Duration("timeout")
	d, err := ask.NewDialer(cmd, at, ask.WithinTime(min(timeout, dialer.DefaultLimits().DialTimeout)))
	if err != nil {
		return err
	}
	defer d.Close()
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	status := terminal.NewStatus(cmd)
	opts := []doctor.Option{
		doctor.WithKeys(keys...),
		doctor.WithObserver(func(check string) { status.Show("%s: %s", endpoint, check) }),
	}
	if realm := cmd.String("realm"); realm != "" {
		opts = append(opts, doctor.WithRealm(realm))
	}
	if cmd.Bool("write") {
		opts = append(opts, doctor.WithWriting())
	}
	report, err := doctor.Examine(limited, d, endpoint, opts...)
	status.Clear()
	if err != nil {
		return err
	}
	if err := view.Report(cmd, report); err != nil {
		return err
	}
	switch failed := len(report.Failed()); {
	case ctx.Err() != nil:
		return errors.New("interrupted: not all was looked at")
	case !report.Reachable:
		return fmt.Errorf("%s does not answer", report.Endpoint)
	case failed > 0:
		return fmt.Errorf("%s is %w: %s failed", report.Endpoint, errUnwell, terminal.Plural(failed, "check"))
	}
	return nil
}

// expectedKeys are those of --service, --topic and KEY.
func expectedKeys(cmd *cli.Command) (keys []doctor.Key, err error) {
	for _, of := range []string{"service", "topic"} {
		for _, name := range cmd.StringSlice(of) {
			if name == "" {
				return nil, flags.Usagef("--%s has no name", of)
			}
			keys = append(keys, doctor.Key{Name: of + " " + name, Key: maculadht.ServiceKey(name)})
		}
	}
	for _, text := range cmd.Args().Tail() {
		key, err := flags.ParseKey(text)
		if err != nil {
			return nil, err
		}
		keys = append(keys, doctor.Key{Name: "key " + text, Key: key})
	}
	return keys, nil
}
