package journal

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/label"
)

const (
	logSuffix      = ".log"
	manifestPrefix = "MANIFEST-"
)

// numberOf returns the number of a log or a manifest; it is none where that is 0.
func numberOf(name string) (n uint64, isLog bool) {
	digits, isLog := strings.CutSuffix(name, logSuffix)
	if !isLog {
		var isManifest bool
		if digits, isManifest = strings.CutPrefix(name, manifestPrefix); !isManifest {
			return 0, false
		}
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return 0, false
	}
	return n, isLog
}

// Check returns an error where a write-ahead log or the manifest in dir lacks what was
// synced, or there is no log.
func Check(files vfs.FS, dir string) error {
	names, err := files.List(dir)
	if err != nil {
		return err
	}
	noted := lastNote(names)
	logs, there := 0, make(map[string]bool)
	var newest uint64
	for _, name := range names {
		number, isLog := numberOf(name)
		if number == 0 {
			continue
		}
		there[name] = true
		if isLog {
			logs++
			newest = max(newest, number)
		} else {
			number = 0 // its chunks have none
		}
		if err := checkFile(files, dir, name, uint32(number), noted.synced[name]); err != nil {
			return err
		}
	}
	if name := noted.missing(there, newest); name != "" {
		return label.Corrupt(dir, fmt.Errorf("%s is missing, a write-ahead log", name))
	}
	if logs == 0 {
		return label.Corrupt(dir, errors.New("its write-ahead log is missing"))
	}
	return nil
}

// checkFile checks a log by a number, or a manifest by none, that was synced so far.
func checkFile(files vfs.FS, dir, name string, number uint32, synced int64) error {
	f, err := files.Open(files.PathJoin(dir, name))
	if err != nil {
		return err
	}
	b, err := io.ReadAll(f) // some MiB: a log is as long as a table in memory
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("read %s: %w", files.PathJoin(dir, name), err)
	}
	if int64(len(b)) < synced {
		return label.Corrupt(dir, fmt.Errorf("%s has %d bytes of %d", name, len(b), synced))
	}
	at, damaged := verify(b[:synced], number)
	if !damaged && number != 0 {
		at, damaged = damage(b, number)
	}
	if damaged {
		return label.Corrupt(dir, fmt.Errorf("%s is damaged at byte %d", name, at))
	}
	return nil
}
