package entries

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// What the keys of the database begin with.
const (
	metaPrefix   = 'm'
	recordPrefix = 'r' // length of the record's key, the key, its place in the list
	statePrefix  = 's' // a key of State
)

// clockKey is where the clock was last read.
var clockKey = []byte{metaPrefix, 'c'}

// appendKey appends the beginning of the entries of a key's records.
func appendKey(to, key []byte) []byte {
	to = append(to, recordPrefix)
	to = binary.AppendUvarint(to, uint64(len(key)))
	return append(to, key...)
}

// appendRecordKey appends the key of one record's entry. Entries of a key are in the
// order of its list.
func appendRecordKey(to, key []byte, place uint32) []byte {
	return binary.BigEndian.AppendUint32(appendKey(to, key), place)
}

// parseRecordKey is the reverse of appendRecordKey. key is part of entry.
func parseRecordKey(entry []byte) (key []byte, place uint32, ok bool) {
	if len(entry) == 0 || entry[0] != recordPrefix {
		return nil, 0, false
	}
	n, size := binary.Uvarint(entry[1:])
	rest := entry[1+max(size, 0):]
	if size <= 0 || len(rest) < 4 || n != uint64(len(rest)-4) {
		return nil, 0, false
	}
	return rest[:n], binary.BigEndian.Uint32(rest[n:]), true
}

// The first byte of an entry. A program that knows no proofs does not read those with one.
const (
	recordFormat = 1
	provedFormat = 2 // there is a proof
)

// The bits of the second byte.
const (
	ownedBit  = 1 << iota
	directBit // see records.Record
	namedBit  // there is a node id, maybe an empty one
	withinBit // it is part of the value
	groupBit  // the source has a group
)

var errEncoding = errors.New("a record that this program has not written")

// appendRecord appends a record that ends at a time of the store's. The value comes
// last; a node id that stands in it is not written twice.
func appendRecord(to []byte, r *records.Record, ends int64) []byte {
	var bits byte
	within := -1
	if r.Owned {
		bits |= ownedBit
	}
	if r.Direct {
		bits |= directBit
	}
	if r.NodeID != nil {
		bits |= namedBit
		if within = bytes.Index(r.Value, r.NodeID); within >= 0 {
			bits |= withinBit
		}
	}
	if r.Source.Group != "" {
		bits |= groupBit
	}
	format := byte(recordFormat)
	if r.Proof != nil {
		format = provedFormat
	}
	to = append(to, format, bits)
	to = binary.BigEndian.AppendUint64(to, uint64(ends))
	if r.NodeID != nil {
		to = binary.AppendUvarint(to, uint64(len(r.NodeID)))
		if within >= 0 {
			to = binary.AppendUvarint(to, uint64(within))
		} else {
			to = append(to, r.NodeID...)
		}
	}
	to = appendText(to, r.Source.Name)
	if r.Source.Group != "" {
		to = appendText(to, r.Source.Group)
	}
	if p := r.Proof; p != nil {
		to = binary.BigEndian.AppendUint64(to, uint64(p.Sequence))
		to = binary.BigEndian.AppendUint64(to, uint64(p.Expires))
		to = binary.AppendUvarint(to, uint64(len(p.Envelope)))
		to = append(to, p.Envelope...)
	}
	return append(to, r.Value...)
}

func appendText(to []byte, text string) []byte {
	to = binary.AppendUvarint(to, uint64(len(text)))
	return append(to, text...)
}

// decoder reads records, and has each name of a source once.
type decoder struct {
	names map[string]string
	rest  []byte
	bad   bool
}

// record is the reverse of appendRecord. What it returns shares no memory with entry.
func (d *decoder) record(entry []byte, ends func(int64) time.Time) (r records.Record, err error) {
	if len(entry) < 10 {
		return r, errEncoding
	}
	if entry[0] != recordFormat && entry[0] != provedFormat {
		return r, fmt.Errorf("a record of format %d, this program knows %d and %d", entry[0], recordFormat, provedFormat)
	}
	bits := entry[1]
	r.Owned, r.Direct = bits&ownedBit != 0, bits&directBit != 0
	at := int64(binary.BigEndian.Uint64(entry[2:]))
	if at < 0 { // which would be read as a time far ahead
		return records.Record{}, errEncoding
	}
	r.Expires = ends(at)
	d.rest, d.bad = entry[10:], false
	var idLength, idWithin int
	var id []byte
	if bits&namedBit != 0 {
		idLength = d.number()
		if bits&withinBit != 0 {
			idWithin = d.number()
		} else {
			id = d.bytes(idLength)
		}
	}
	r.Source.Name = d.name()
	if bits&groupBit != 0 {
		r.Source.Group = d.name()
	}
	if entry[0] == provedFormat {
		r.Proof = d.proof()
	}
	if bits&withinBit != 0 {
		d.bad = d.bad || idWithin > len(d.rest) || idLength > len(d.rest)-idWithin
	}
	if d.bad {
		return records.Record{}, errEncoding
	}
	value := len(d.rest)
	own := append(append(make([]byte, 0, value+len(id)), d.rest...), id...)
	r.Value = own[:value:value]
	switch {
	case bits&withinBit != 0:
		r.NodeID = r.Value[idWithin : idWithin+idLength : idWithin+idLength]
	case bits&namedBit != 0:
		r.NodeID = own[value:len(own):len(own)]
	}
	return r, nil
}

// proof reads a proof, which held when the record was stored.
func (d *decoder) proof() *records.Proof {
	times := d.bytes(16)
	envelope := d.bytes(d.number())
	if d.bad {
		return nil
	}
	return &records.Proof{
		Envelope: bytes.Clone(envelope),
		Sequence: int64(binary.BigEndian.Uint64(times)),
		Expires:  int64(binary.BigEndian.Uint64(times[8:])),
	}
}

func (d *decoder) number() int {
	n, size := binary.Uvarint(d.rest)
	if size <= 0 || n > 1<<31 {
		d.bad = true
		return 0
	}
	d.rest = d.rest[size:]
	return int(n)
}

func (d *decoder) bytes(n int) []byte {
	if n > len(d.rest) {
		d.bad = true
		return nil
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) name() string {
	b := d.bytes(d.number())
	if name, known := d.names[string(b)]; known {
		return name
	}
	name := strings.Clone(string(b))
	d.names[name] = name
	return name
}
