package page

import (
	"encoding/hex"
	"fmt"
	"math"

	"github.com/macula-mesh/macula-node/node/api/schema"
)

const (
	// ring is the radius of the key space, from the middle of a picture of 2*middle.
	ring, middle = 120.0, 170.0
	// maxArcs is how many buckets are drawn on it: more can not be told from this node.
	maxArcs = 8
	// perBucket is how many contacts a bucket has at most.
	perBucket = 20
	// maxColumns is how many buckets have a column of their own; those of more bits share the last.
	maxColumns = 32
	// minColumns are there in any case.
	minColumns = 8
	// step is from one contact to the next in a bucket's column.
	step = 11.0
	// maxNear is how many of the nearest contacts are listed.
	maxNear = 20
)

// keySpace is a picture of it: a ring of all ids, with this node, its contacts, and the
// buckets, each of which is the half of what the one before has left; and each bucket's
// contacts.
type keySpace struct {
	Self     mark
	SelfID   string
	Marks    []mark
	Arcs     []arc
	Columns  []column
	Width    float64 // of the columns' picture
	Near     []schema.Contact
	Contacts int
	Words    string
}

// mark is a contact on the ring or in a column.
type mark struct {
	X, Y, Turn float64 // Turn, in degrees, is to the middle of the ring
	Kind       string
	Sure       bool // it is confirmed
	Name       string
}

// arc is a bucket on the ring.
type arc struct {
	Path   string
	Odd    bool
	Number int
	X, Y   float64 // of its number; both 0 for none
}

// column is a bucket with its contacts.
type column struct {
	Name      string
	X         float64
	Marks     []mark
	Confirmed int
	Doubtful  int
}

func newKeySpace(t schema.Table) keySpace {
	k := keySpace{SelfID: short(t.NodeID), Contacts: len(t.Contacts), Near: t.Contacts[:min(len(t.Contacts), maxNear)]}
	self := share(t.NodeID)
	k.Self = onRing(self, ring+16)
	deepest := 0
	for _, c := range t.Contacts {
		m := onRing(share(c.NodeID), ring)
		m.Kind, m.Sure, m.Name = c.Kind, c.State == schema.ContactConfirmed, short(c.NodeID)
		k.Marks = append(k.Marks, m)
		deepest = max(deepest, c.Bucket)
	}
	k.arcs(self)
	k.columns(t.Contacts, min(max(deepest+1, minColumns), maxColumns))
	size := "About how many nodes the network has is not known yet."
	if t.Size > 0 {
		size = fmt.Sprintf("The network has about %.0f nodes.", t.Size)
	}
	k.Words = fmt.Sprintf("%s in the table. %s", count(k.Contacts, "contact"), size)
	return k
}

// The lowest contacts of the columns stand on floor; their names below it are at label, and
// the picture ends at the bottom.
const floor, label, bottom = perBucket*step + 8, floor + 14, floor + 20

// Floor, Label and Bottom are for the template.
func (keySpace) Floor() float64  { return floor }
func (keySpace) Label() float64  { return label }
func (keySpace) Bottom() float64 { return bottom }

// Left and Above are where a mark that is a square begins.
func (m mark) Left() float64  { return m.X - 3.5 }
func (m mark) Above() float64 { return m.Y - 3.5 }

// share is where an id lies in the key space, from 0 to 1.
func share(id string) float64 {
	const digits = 13 // what a float64 tells apart
	bytes, err := hex.DecodeString(id[:min(len(id), digits)&^1])
	if err != nil {
		return 0
	}
	at, part := 0.0, 1.0
	for _, b := range bytes {
		part /= 256
		at += float64(b) * part
	}
	return at
}

func onRing(at, radius float64) mark {
	sin, cos := math.Sincos(2 * math.Pi * at)
	return mark{X: middle + radius*sin, Y: middle - radius*cos, Turn: math.Mod(360*at+180, 360)}
}

// arcs draws the buckets of who is at a share of the ring.
func (k *keySpace) arcs(self float64) {
	from, size := 0.0, 1.0 // of the ids that share as many leading bits
	for i := range maxArcs {
		size /= 2
		other := from + size
		if self >= other {
			from, other = other, from
		}
		a := arc{Path: slice(other, size), Odd: i%2 == 1, Number: i}
		if i < 5 {
			m := onRing(other+size/2, ring-24)
			a.X, a.Y = m.X, m.Y
		}
		k.Arcs = append(k.Arcs, a)
	}
}

// slice is the path of a part of the ring.
func slice(from, size float64) string {
	const out, in = ring + 8, ring - 8
	a, b, c, d := onRing(from, out), onRing(from+size, out), onRing(from+size, in), onRing(from, in)
	return fmt.Sprintf("M%.2f %.2fA%.0f %.0f 0 0 1 %.2f %.2fL%.2f %.2fA%.0f %.0f 0 0 0 %.2f %.2fZ", a.X, a.Y, out, out, b.X, b.Y, c.X, c.Y, in, in, d.X, d.Y)
}

func (k *keySpace) columns(all []schema.Contact, n int) {
	const left = 24.0
	k.Columns = make([]column, n)
	for i := range k.Columns {
		k.Columns[i] = column{Name: fmt.Sprint(i), X: left + (float64(i)+0.5)*2*step}
	}
	for _, c := range all {
		i := min(max(c.Bucket, 0), n-1)
		if c.Bucket >= n {
			k.Columns[i].Name = fmt.Sprintf("%d+", i)
		}
		col := &k.Columns[i]
		sure := c.State == schema.ContactConfirmed
		if sure {
			col.Confirmed++
		} else {
			col.Doubtful++
		}
		if high := len(col.Marks); high < perBucket {
			col.Marks = append(col.Marks, mark{X: col.X, Y: floor - (float64(high)+0.5)*step, Kind: c.Kind, Sure: sure})
		}
	}
	k.Width = left + float64(n)*2*step + 4
}
