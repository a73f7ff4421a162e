package journal

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math/bits"
)

// What Pebble appends to is blocks of chunks; each has a header of its CRC (4 bytes),
// length (2) and type (1); in a write-ahead log also the number of the log (4), and but
// for the first log of a database how far the log was synced when it was written (8), all
// little-endian. The types are in fours, for a record's first, middle and last parts, or
// all of it. A closed log ends with the header of an empty chunk of the next number.
const (
	blockBytes = 32 << 10
	minHeader  = 7
	maxHeader  = 19
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// chunk is the one at the front of some bytes.
type chunk struct {
	size   int    // with its header
	synced uint64 // how far the log was, as it says; 0 where it does not
	valid  bool
	isEnd  bool // of a closed log
}

// chunkAt reads the chunk at the front of b, of the log by a number, or of a manifest
// where that is 0.
func chunkAt(b []byte, number uint32) (c chunk) {
	if len(b) < minHeader {
		return chunk{size: minHeader}
	}
	header := 0
	switch kind := b[6]; {
	case kind >= 1 && kind <= 4 && number == 0:
		header = minHeader
	case kind >= 5 && kind <= 8 && number != 0:
		header = 11
	case kind >= 9 && kind <= 12 && number != 0:
		header = maxHeader
	default:
		return chunk{size: maxHeader + int(binary.LittleEndian.Uint16(b[4:]))}
	}
	c.size = header + int(binary.LittleEndian.Uint16(b[4:]))
	if c.size > len(b) {
		return c
	}
	if number != 0 {
		if of := binary.LittleEndian.Uint32(b[7:]); of != number {
			c.isEnd = of == number+1 && c.size == header && binary.LittleEndian.Uint32(b) == 0
			return c
		}
	}
	if header == maxHeader {
		c.synced = binary.LittleEndian.Uint64(b[11:])
	}
	sum := crc32.Checksum(b[6:c.size], castagnoli)
	masked := bits.RotateLeft32(sum, -15) + 0xa282ead8 // as RocksDB does, so that a CRC of CRCs is good
	c.valid = masked == binary.LittleEndian.Uint32(b)
	return c
}

// padding returns how many bytes are left unused at the end of a block, at a place in b.
func padding(b []byte, at int) int {
	left := min(blockBytes-at%blockBytes, len(b)-at)
	if left < minHeader || left < maxHeader && bytes.Count(b[at:at+left], []byte{0}) == left {
		return left
	}
	return 0
}

// verify returns the place of the first chunk of b, all of which was synced, that can not
// be read.
func verify(b []byte, number uint32) (at int, damaged bool) {
	for at < len(b) {
		if unused := padding(b, at); unused > 0 {
			at += unused
			continue
		}
		c := chunkAt(b[at:], number)
		if c.isEnd && at+c.size == len(b) {
			return 0, false
		}
		if !c.valid {
			return at, true
		}
		at += c.size
	}
	return 0, false
}

// damage returns the place of the first chunk of a log that can not be read, and whether
// a later one says that it had been synced: else it is where the log ends. Pebble takes
// what is damaged in the last block for that.
func damage(b []byte, number uint32) (at int, damaged bool) {
	at = -1
	for pos := 0; pos+minHeader <= len(b); {
		if unused := padding(b, pos); unused > 0 {
			pos += unused
			continue
		}
		c := chunkAt(b[pos:], number)
		switch {
		case c.valid && at >= 0 && c.synced > uint64(at):
			return at, true
		case c.valid:
			pos += c.size
		default:
			if at < 0 {
				at = pos
			}
			next := pos + c.size
			block := pos - pos%blockBytes + blockBytes
			if next >= block || !chunkAt(b[min(next, len(b)):], number).valid {
				next = block // where there is a header in any case
			}
			pos = next
		}
	}
	return at, false
}
