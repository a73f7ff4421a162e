package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/flags"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/local"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/settings"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/terminal"
	"github.com/macula-mesh/macula-node/internal/datadir"
	"github.com/macula-mesh/macula-node/node"
	"github.com/macula-mesh/macula-node/node/api/client"
	"github.com/macula-mesh/macula-node/node/api/schema"
	"github.com/macula-mesh/macula-node/node/backup"
	"github.com/macula-mesh/macula-node/node/credentials"
)

func backupCommand() *cli.Command {
	return &cli.Command{
		Name:      "backup",
		Usage:     "copy a node's identity and records while it runs or stands still",
		ArgsUsage: "DIR",
		Description: `DIR is made, and must not be there yet. It has the identity key, the
certificate and the records as they are now: who has it can be this node, so
keep it as secret. All of it is there in the end, or nothing. To go on from
it:

  macula-node run --data-dir DIR

A node that runs makes the copy itself, as its user and where it sees DIR.`,
		Flags: []cli.Flag{settings.Flag("data-dir"), flags.JSON()},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			if n := cmd.Args().Len(); n != 1 {
				return flags.Usagef("want one DIR, got %d arguments; %s", n, flags.UsageOf(cmd))
			}
			dataDir, err := settings.DataDir(cmd)
			if err != nil {
				return err
			}
			dir, err := filepath.Abs(cmd.Args().First())
			if err != nil {
				return err
			}
			made, err := backUp(ctx, dataDir, dir)
			if err != nil {
				return wrongPlace(err)
			}
			if cmd.Bool("json") {
				return terminal.PrintJSON(cmd, made)
			}
			_, err = fmt.Fprintf(cmd.Root().Writer, "backup of the %s in %s: %s, %s\n%s\n",
				copied(made), terminal.Legible(made.Dir), terminal.Plural(made.Files, "file"), terminal.Bytes(made.Bytes), whatNext(made, dataDir))
			return err
		},
	}
}

// copied says what is in a backup.
func copied(made schema.Backup) string {
	switch {
	case !made.Key:
		return "records alone"
	case made.Unread:
		return "identity, and of the records that an earlier run left, as the node keeps its own in memory (--ephemeral) and they are not in it,"
	case made.Records:
		return "identity and records"
	}
	return "identity alone, as there are no records on the disk,"
}

// whatNext says what a backup is good for.
func whatNext(made schema.Backup, dataDir string) string {
	if !made.Key {
		return fmt.Sprintf("There is no %s, without which no node can run on it: put that back first.", terminal.Legible(filepath.Join(dataDir, credentials.KeyFile)))
	}
	return fmt.Sprintf("It holds the node's key: keep it secret. To go on from it: %s run --data-dir %s", programName(), terminal.Legible(made.Dir))
}

// backUp has the node that runs on a data directory copy it, or does it where none
// runs.
func backUp(ctx context.Context, dataDir, dir string) (schema.Backup, error) {
	c, r, err := local.Open(dataDir)
	switch {
	case errors.Is(err, datadir.ErrNotRunning):
		made, err := backUpStill(ctx, dataDir, dir)
		return schema.Backup(made), err
	case err != nil:
		return schema.Backup{}, err
	}
	made, err := c.Backup(ctx, dir)
	if errors.Is(err, client.ErrNoAnswer) {
		return made, fmt.Errorf("%s: %w", r, err)
	}
	if err == nil {
		if _, statErr := os.Stat(made.Dir); statErr != nil {
			return made, fmt.Errorf("%s has made it at %s, which can not be seen from here (is it in a container?): %w", r, made.Dir, statErr)
		}
	}
	return made, err
}

// backUpStill copies a data directory on which no node runs, nor starts meanwhile.
func backUpStill(ctx context.Context, dataDir, dir string) (made backup.Made, err error) {
	if _, err := os.Stat(dataDir); err != nil {
		return made, flags.Usagef("no node has run on the data directory %s: %w", dataDir, err)
	}
	used, err := datadir.Use(dataDir)
	if err != nil {
		return made, flags.Usage(err)
	}
	defer func() { err = errors.Join(err, used.Close()) }()
	return node.BackupOf(ctx, dataDir, dir)
}

// wrongPlace makes an error that is for who typed the command one of usage.
func wrongPlace(err error) error {
	p, isProblem := errors.AsType[*client.Problem](err)
	if isProblem && p.Wrong() || errors.Is(err, backup.ErrExists) || errors.Is(err, backup.ErrPlace) || errors.Is(err, backup.ErrNothing) {
		return flags.Usage(err)
	}
	return err
}
