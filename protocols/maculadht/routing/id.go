package routing

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"math/bits"

	"github.com/libp2p/go-libp2p/core/peer"
)

// IDBits is the width of the id space.
const IDBits = 256

// ID is a point in the 256-bit space in which nodes and keys are compared.
type ID [IDBits / 8]byte

// IDFromBytes gives the id of a node id or key as sent: 32 bytes are used as
// they are, any other length is hashed with SHA-256.
func IDFromBytes(b []byte) ID {
	if len(b) == len(ID{}) {
		return ID(b)
	}
	return sha256.Sum256(b)
}

// IDFromPeer gives the id of a libp2p peer: the SHA-256 of the peer id's bytes
// (not of its text), always hashed, whatever its length.
func IDFromPeer(p peer.ID) ID {
	return sha256.Sum256([]byte(p))
}

// String returns the id in hexadecimal, 64 digits.
func (id ID) String() string {
	return hex.EncodeToString(id[:])
}

// IsZero reports whether id is the zero id, which stands for "unknown".
func (id ID) IsZero() bool {
	return id == ID{}
}

// Distance returns the XOR of the two ids.
func (id ID) Distance(o ID) ID {
	var d ID
	subtle.XORBytes(d[:], id[:], o[:])
	return d
}

// CommonPrefixLen returns how many leading bits the two ids share: 0 to 256.
func (id ID) CommonPrefixLen(o ID) int {
	for i := 0; i < len(id); i += 8 {
		diff := binary.BigEndian.Uint64(id[i:]) ^ binary.BigEndian.Uint64(o[i:])
		if diff != 0 {
			return i*8 + bits.LeadingZeros64(diff)
		}
	}
	return IDBits
}

// CompareDistance orders a and b by their distance from id: negative when a is
// nearer, zero when they are the same. As a method value it sorts:
//
//	slices.SortFunc(ids, target.CompareDistance)
func (id ID) CompareDistance(a, b ID) int {
	da, db := id.Distance(a), id.Distance(b)
	return bytes.Compare(da[:], db[:])
}

// Closer reports whether a is strictly nearer to id than b.
func (id ID) Closer(a, b ID) bool {
	return id.CompareDistance(a, b) < 0
}

// Beside returns the id that shares just as many leading bits with id, 0 to [IDBits]-1,
// and is random behind those.
func (id ID) Beside(bits int, random ID) ID {
	for i := range bits {
		random.setBit(i, id.bit(i))
	}
	random.setBit(bits, !id.bit(bits))
	return random
}

// bit reports whether bit i of the id is set, counted from the left.
func (id *ID) bit(i int) bool {
	return id[i/8]&(0x80>>(i%8)) != 0
}

// setBit sets bit i of the id, counted from the left.
func (id *ID) setBit(i int, set bool) {
	mask := byte(0x80) >> (i % 8)
	id[i/8] &^= mask
	if set {
		id[i/8] |= mask
	}
}
