package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/label"
)

// Pebble's write-ahead log is blocks of chunks; each has a header of its CRC (4 bytes),
// length (2), type (1), the number of the log (4) and how far the log was synced when it
// was written (8), all little-endian. Pebble looks for damage only where a later block
// shows it; what is damaged in the last 32 KiB it takes for the end of the log.
const (
	logBlock   = 32 << 10
	logHeader  = 19
	logLowest  = 9 // the types of chunks that say how far the log was synced
	logHighest = 12
	logSuffix  = ".log"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Check returns an error where a write-ahead log in dir lacks what was synced, or
// there is none.
func Check(files vfs.FS, dir string) error {
	names, err := files.List(dir)
	if err != nil {
		return err
	}
	logs := 0
	for _, name := range names {
		text, isLog := strings.CutSuffix(name, logSuffix)
		number, err := strconv.ParseUint(text, 10, 64)
		if !isLog || err != nil {
			continue
		}
		logs++
		f, err := files.Open(files.PathJoin(dir, name))
		if err != nil {
			return err
		}
		b, err := io.ReadAll(f) // some MiB: a log is as long as a table in memory
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("read %s: %w", files.PathJoin(dir, name), err)
		}
		if at, damaged := damage(b, uint32(number)); damaged {
			return label.Corrupt(dir, fmt.Errorf("%s is damaged at byte %d", name, at))
		}
	}
	if logs == 0 {
		return label.Corrupt(dir, errors.New("its write-ahead log is missing"))
	}
	return nil
}

// damage returns the place of the first chunk that can not be read, and whether a later
// one says that it had been synced: else it is where the log ends.
func damage(b []byte, number uint32) (at int, damaged bool) {
	at = -1
	for pos := 0; pos+logHeader <= len(b); {
		if left := logBlock - pos%logBlock; left < logHeader {
			pos += left
			continue
		}
		length, synced, valid := chunk(b[pos:], number)
		switch {
		case valid && at >= 0 && synced > uint64(at):
			return at, true
		case valid:
			pos += logHeader + length
		default:
			if at < 0 {
				at = pos
			}
			next := pos + logHeader + length
			block := pos - pos%logBlock + logBlock
			if _, _, valid := chunk(b[min(next, len(b)):], number); next >= block || !valid {
				next = block // where there is a header in any case
			}
			pos = next
		}
	}
	return at, false
}

// chunk reads the chunk at the front of b, which may be none.
func chunk(b []byte, number uint32) (length int, synced uint64, valid bool) {
	if len(b) < logHeader {
		return 0, 0, false
	}
	length = int(binary.LittleEndian.Uint16(b[4:]))
	if b[6] < logLowest || b[6] > logHighest || binary.LittleEndian.Uint32(b[7:]) != number || logHeader+length > len(b) {
		return length, 0, false
	}
	sum := crc32.Checksum(b[6:logHeader+length], castagnoli)
	masked := bits.RotateLeft32(sum, -15) + 0xa282ead8 // as RocksDB does, so that a CRC of CRCs is good
	return length, binary.LittleEndian.Uint64(b[11:]), masked == binary.LittleEndian.Uint32(b)
}
