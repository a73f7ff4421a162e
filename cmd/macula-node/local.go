package main

import (
	"errors"
	"fmt"

	"github.com/macula-mesh/macula-node/internal/api"
	"github.com/macula-mesh/macula-node/internal/datadir"
)

// localAPI returns a client of the node that runs on a data directory, and what that
// one says of itself.
func localAPI(dir string) (*api.Client, *datadir.Running, error) {
	r, err := datadir.RunningIn(dir)
	switch {
	case errors.Is(err, datadir.ErrNotRunning):
		return nil, nil, fmt.Errorf("%w: start it with macula-node run, or name the directory of another with --data-dir", err)
	case err != nil:
		return nil, nil, err
	case r.Socket == "":
		return nil, nil, fmt.Errorf("%s, has no local API: its log says why", r)
	}
	return api.NewClient(r.Socket), r, nil
}
