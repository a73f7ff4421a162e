package flags

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v3"
)

// DataDir names a node's data directory.
func DataDir() cli.Flag {
	return &cli.StringFlag{
		Name:    "data-dir",
		Usage:   "`DIR` of a node's identity key, TLS certificate and records, made at its first start; one node runs on it at a time",
		Value:   defaultDataDir(),
		Sources: Env("MACULA_DATA_DIR"),
	}
}

// defaultDataDir returns nothing where the user has no home.
func defaultDataDir() string {
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".macula-node")
}

// DataDirOf returns the data directory that a command names.
func DataDirOf(cmd *cli.Command) (string, error) {
	switch dir := cmd.String("data-dir"); {
	case dir != "" && !cmd.IsSet("data-dir"):
		home := filepath.Dir(dir)
		if _, err := os.Stat(home); errors.Is(err, fs.ErrNotExist) {
			return "", Usagef("the home directory %s (HOME) does not exist, to keep the node's identity key in: make it, or set --data-dir (MACULA_DATA_DIR)", home)
		}
		return dir, nil
	case dir != "":
		return dir, nil
	case cmd.IsSet("data-dir"):
		return "", Usagef("--data-dir (MACULA_DATA_DIR) is empty: write the directory of the node's identity key")
	default:
		return "", Usagef("there is no home directory (HOME is not set) to keep the node's identity key in: set --data-dir (MACULA_DATA_DIR)")
	}
}
