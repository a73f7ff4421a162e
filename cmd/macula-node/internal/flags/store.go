package flags

import (
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v3"
)

// What a store may cost where nothing is said: for a machine of 512 MiB. With what peers
// may have buffered, connections and the program, 128 MiB of records have a process of 416
// MiB. Files are rewritten as they are merged, for which there is room for the same records
// four times.
const (
	defaultStoreMemory = "128MiB"
	defaultStoreDisk   = "512MiB"
)

// What a store may be given: less would keep nothing of anybody, and no machine has
// more.
const (
	minMemory = 1 << 20
	minDisk   = 32 << 20
	maxStore  = 1 << 50
)

// Store are the flags of where records are kept, and how many.
func Store() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "ephemeral", Usage: "keep records in memory only, so that they are gone at the end", Sources: Env("MACULA_EPHEMERAL")},
		&cli.StringFlag{Name: "store-memory", Usage: "`SIZE` that all records may have in memory, such as 64MiB or a number of bytes; over it those give way who store most", Value: defaultStoreMemory, Sources: Env("MACULA_STORE_MEMORY")},
		&cli.StringFlag{Name: "store-disk", Usage: "`SIZE` that the files of the records may have in the data directory", Value: defaultStoreDisk, Sources: Env("MACULA_STORE_DISK")},
	}
}

// StoreSizes returns what the records may have in memory and on the disk, in bytes.
func StoreSizes(cmd *cli.Command) (memory, disk int64, err error) {
	if memory, err = size(cmd, "store-memory", "MACULA_STORE_MEMORY", minMemory); err != nil {
		return 0, 0, err
	}
	if disk, err = size(cmd, "store-disk", "MACULA_STORE_DISK", minDisk); err != nil {
		return 0, 0, err
	}
	return memory, disk, nil
}

// size reads the SIZE of a flag.
func size(cmd *cli.Command, name, variable string, least uint64) (int64, error) {
	text := cmd.String(name)
	bytes, err := humanize.ParseBytes(text)
	switch {
	case err != nil || strings.HasPrefix(strings.TrimSpace(text), "-"):
		return 0, Usagef("--%s (%s) %q: write a size such as 64MiB, or a number of bytes", name, variable, text)
	case bytes < least || bytes > maxStore:
		return 0, Usagef("--%s (%s) %s: want %s to %s", name, variable, text, humanize.IBytes(least), humanize.IBytes(maxStore))
	}
	return int64(bytes), nil
}
