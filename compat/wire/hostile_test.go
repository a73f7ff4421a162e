package wire

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Long payloads of all shapes cost time in proportion to their length: a map of
// hundreds of thousands of keys, all the same or none, and lists of as many, where a list, a
// map or a text is expected, and where nothing is.
func TestDecodeTakesLinearTime(t *testing.T) {
	const size = MaxPayload / 8
	list32 := func(n int) []byte { return binary.BigEndian.AppendUint32([]byte{0xdd}, uint32(n)) }
	map32 := func(n int) []byte { return binary.BigEndian.AppendUint32([]byte{0xdf}, uint32(n)) }
	fill := func(head func(n int) []byte, each []byte, room int) []byte {
		n := (room - 5) / len(each)
		return append(head(n), bytes.Repeat(each, n)...)
	}
	field := func(name string, value []byte) []byte {
		return append(append([]byte{0x81, 0xc4, byte(len(name))}, name...), value...)
	}
	shapes := map[string][]byte{
		"a map of one key again and again": fill(map32, []byte{0xc4, 1, 'k', 0xc0}, size),
		"a map of nils":                    fill(map32, []byte{0xc0, 0xc0}, size),
		"a map of keys by the number":      fill(map32, []byte{0x01, 0x02}, size),
	}
	room := size - 64
	for _, name := range []string{"key", "target", "value", "nodes", "topics", "addrs", "capabilities", "args", "payload", "proofs", "tombstones", "expires_in", "node_id", "procedure", "result"} {
		shapes[name+": a list of nils"] = field(name, fill(list32, []byte{0xc0}, room))
		shapes[name+": a list of empty maps"] = field(name, fill(list32, []byte{0x80}, room))
		shapes[name+": a list of texts"] = field(name, fill(list32, []byte{0xc4, 1, 'a'}, room))
		shapes[name+": a list of lists"] = field(name, fill(list32, []byte{0x91, 0x91, 0x91, 0xc0}, room))
		shapes[name+": a map of one key"] = field(name, fill(map32, []byte{0xc4, 7, 'n', 'o', 'd', 'e', '_', 'i', 'd', 0xc4, 0}, room))
	}
	decoded := []Type{TypeConnect, TypePong, TypeDisconnect, TypeFindNode, TypeFindNodeReply, TypeStore, TypeFindValue, TypeFindValueReply,
		TypeCall, TypeReply, TypeNATProbe, TypeSubscribe, TypePublish, TypePubSubRoute, TypeRPCRequest, TypeRPCRoute, TypeRegisterProcedure}
	var worst time.Duration
	var which string
	for shape, payload := range shapes {
		require.LessOrEqual(t, len(payload), size, shape)
		for _, kind := range decoded {
			start := time.Now()
			_, _ = Decode(kind, payload)
			if took := time.Since(start); took > worst {
				worst, which = took, shape
			}
		}
	}
	t.Logf("at most %v for 128 KiB: %s", worst, which)
	require.Less(t, worst, time.Second/2)
}
