package glass_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tinylib/msgp/msgp"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
)

// scene is what was traced inside of real nodes while they did something.
type scene struct {
	Scenario string
	What     string
	Events   []event
}

// event is a frame that a node sent or received.
type event struct {
	MS                      int
	Node, Dir, Stream, Type string
	Hex                     string
}

func scenes(tb testing.TB, name string) map[string]scene {
	tb.Helper()
	text, err := os.ReadFile("testdata/" + name)
	require.NoError(tb, err)
	var recorded struct{ Scenes []scene }
	require.NoError(tb, json.Unmarshal(text, &recorded))
	all := make(map[string]scene)
	for _, s := range recorded.Scenes {
		all[s.Scenario] = s
	}
	return all
}

// of returns the frames of a type that a node sent or received.
func (s scene) of(tb testing.TB, node, dir, typ string) (frames []framing.Frame) {
	tb.Helper()
	for _, e := range s.Events {
		if e.Node == node && e.Dir == dir && e.Type == typ {
			f, _, err := framing.DecodeFrame(unhex(tb, e.Hex))
			require.NoError(tb, err)
			frames = append(frames, f)
		}
	}
	require.NotEmpty(tb, frames, "%s %s %s %s", s.Scenario, node, dir, typ)
	return frames
}

// sorted returns the digits of a frame whose maps are in the order of their
// keys, which is not stable in the reference. All else is as it was.
func sorted(tb testing.TB, b []byte) string {
	tb.Helper()
	f, rest, err := framing.DecodeFrame(b)
	require.NoError(tb, err)
	require.Empty(tb, rest)
	return hex.EncodeToString(made(f.Type, inOrder(f.Payload)))
}

func inOrder(v wire.Raw) wire.Raw {
	switch v.Kind() {
	case wire.Array:
		b := msgp.AppendArrayHeader(nil, uint32(len(slices.Collect(v.Elems()))))
		for e := range v.Elems() {
			b = append(b, inOrder(e)...)
		}
		return b
	case wire.Map:
		var fields [][]byte
		for key, value := range v.Fields() {
			fields = append(fields, append(slices.Clone(key), inOrder(value)...))
		}
		slices.SortFunc(fields, func(a, b []byte) int { return bytes.Compare(a[2:], b[2:]) })
		return append(msgp.AppendMapHeader(nil, uint32(len(fields))), bytes.Join(fields, nil)...)
	}
	return v
}

// blank replaces what is another value each time by as many zeros: ids that are
// random, and times.
func blank(f framing.Frame, names ...string) []byte {
	b := made(f.Type, f.Payload)
	for _, name := range names {
		key := append([]byte{0xc4, byte(len(name))}, name...)
		for at := bytes.Index(b, key); at >= 0; {
			value := b[at+len(key):]
			switch value[0] {
			case 0xc4:
				clear(value[2 : 2+value[1]])
			case 0xcf:
				clear(value[1:9])
			}
			next := bytes.Index(value, key)
			if next < 0 {
				break
			}
			at += len(key) + next
		}
	}
	return b
}

// requireSame requires that two frames are the same bytes but for the order of
// keys, and what the names name.
func requireSame(tb testing.TB, want, got framing.Frame, names ...string) {
	tb.Helper()
	require.Equal(tb, sorted(tb, blank(want, names...)), sorted(tb, blank(got, names...)), "%s", want.Type)
}

// requireNothing requires that nothing comes.
func requireNothing(tb testing.TB, k *talk) {
	tb.Helper()
	k.SetReadDeadline(time.Now().Add(soon))
	_, err := k.next()
	require.Error(tb, err)
}

// The ids of the recorded nodes.
const (
	idA = "fa0d9937b4ca1731928163661031782389cb46ad374970c2e3be501ac23d0db8"
	idB = "c74147086c4761be99adbd37cd80ba1505e27e786682de46cea13a17e13d4071"

	hexB = "9ffa7e757ee738d403f6050a3df03d693460c493c2b204a75e32526ce75a2b2c"
	hexC = "f94f648a33955b237fa0c73c867fb301200eb5fc077f822f6d899f8cb673ef11"
)
