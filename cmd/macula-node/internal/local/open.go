// Package local has the commands that the node carries out which runs on the data
// directory: topics and calls.
package local

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/flags"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/settings"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/terminal"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/internal/datadir"
	"github.com/macula-mesh/macula-node/node/api/client"
)

// Open returns a client of the node that runs on a data directory, and what that
// one says of itself.
func Open(dir string) (*client.Client, *datadir.Running, error) {
	r, err := datadir.RunningIn(dir)
	switch {
	case errors.Is(err, datadir.ErrNotRunning):
		return nil, nil, fmt.Errorf("%w: start it with macula-node run, or name the directory of another with --data-dir", err)
	case err != nil:
		return nil, nil, err
	case r.Socket == "":
		return nil, nil, fmt.Errorf("%s, has no local API: its log says why", r)
	}
	return client.New(r.Socket), r, nil
}

// OfCommand returns a client of the node that runs on a command's data directory.
func OfCommand(cmd *cli.Command) (*client.Client, error) {
	dir, err := settings.DataDir(cmd)
	if err != nil {
		return nil, err
	}
	c, _, err := Open(dir)
	return c, err
}

// Wrong makes an error that is for who typed the command one of usage.
func Wrong(err error) error {
	if p, is := errors.AsType[*client.Problem](err); is && p.Wrong() {
		return flags.Usage(err)
	}
	return err
}

// NoteUnseen says of a value that was stored that Erlang nodes will not be given it.
func NoteUnseen(cmd *cli.Command, value values.Value) {
	if err := values.Harmless(value.Raw); err != nil {
		flags.Note(cmd, "Erlang nodes will not see the value: %v", terminal.Legible(err.Error()))
	}
}

// ErrUnserved: nobody was found who serves a procedure.
var ErrUnserved = errors.New("not found")
