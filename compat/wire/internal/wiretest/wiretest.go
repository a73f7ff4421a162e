// Package wiretest has what the tests of package wire and of the packages beside it
// share: MessagePack in every form in which it may come, and what an Erlang node sent.
package wiretest

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"

	"github.com/tinylib/msgp/msgp"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
)

// Recorded is what testdata/macula-0.20.3.json of package wire holds: what a real Erlang node sent and how
// its decoder judged what it got.
type Recorded struct {
	Encode []struct {
		Name     string `json:"name"`
		TypeName string `json:"type_name"`
		TypeID   uint8  `json:"type_id"`
		FrameHex string `json:"frame_hex"`
		Decoded  any    `json:"decoded"`
	} `json:"encode"`
	Decode []struct {
		Name     string `json:"name"`
		FrameHex string `json:"frame_hex"`
		Outcome  string `json:"outcome"`
	} `json:"decode"`
	Exchanges []struct {
		Name    string   `json:"name"`
		Sent    []string `json:"sent_frames_hex"`
		RecvHex string   `json:"recv_hex"`
	} `json:"exchanges"`
}

// Vectors returns what is in that file, in the folder of package wire, which is at dir.
func Vectors(dir string) (r Recorded) {
	text, err := os.ReadFile(filepath.Join(dir, "testdata/macula-0.20.3.json"))
	if err != nil {
		panic(err)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&r); err != nil {
		panic(err)
	}
	return r
}

// Frames returns every whole frame of the vectors.
func (r Recorded) Frames() (frames [][]byte) {
	add := func(digits string) {
		if b, err := hex.DecodeString(digits); err == nil { // a few are cut short
			frames = append(frames, b)
		}
	}
	for _, v := range r.Encode {
		add(v.FrameHex)
	}
	for _, v := range r.Decode {
		add(v.FrameHex)
	}
	for _, v := range r.Exchanges {
		for _, sent := range v.Sent {
			add(sent)
		}
	}
	return frames
}

// Frame builds a frame around any payload.
func Frame(t wire.Type, payload []byte) []byte {
	n := len(payload)
	return append([]byte{framing.Version, byte(t), 0, 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, payload...)
}

// The forms in which MessagePack may come, as raw bytes.

func Str(text string) wire.Raw     { return msgp.AppendString(nil, text) }
func Bin(text string) wire.Raw     { return msgp.AppendBytes(nil, []byte(text)) }
func Num(i int64) wire.Raw         { return msgp.AppendInt64(nil, i) }
func Float(f float64) wire.Raw     { return msgp.AppendFloat64(nil, f) }
func List(vs ...wire.Raw) wire.Raw { return wire.RawArray(vs...) }
func Raw(b ...byte) wire.Raw       { return b }
func Join(parts ...[]byte) []byte  { return bytes.Join(parts, nil) }

var (
	Nil     = Raw(0xc0)
	Bool    = Raw(0xc3)
	Ext     = Raw(0xd4, 0x01, 0x02)
	BadText = Raw(0xa2, 0xff, 0xfe) // a str that is not UTF-8
)

// Fields builds a map of name, value, name, value, with bin for the names.
func Fields(kv ...any) wire.Raw {
	var pairs []wire.Pair
	for i := 0; i < len(kv); i += 2 {
		pairs = append(pairs, wire.Pair{Key: kv[i].(string), Value: kv[i+1].(wire.Raw)})
	}
	return wire.RawMap(pairs...)
}

// Nest returns a map of that many levels, the innermost empty.
func Nest(levels int) wire.Raw {
	v := Raw(0x80)
	for range levels - 1 {
		v = Fields("a", v)
	}
	return v
}

// Allocated returns how many bytes f allocates.
func Allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// AsMap builds a map with keys of any kind.
func AsMap(kv ...wire.Raw) wire.Raw {
	b := msgp.AppendMapHeader(nil, uint32(len(kv)/2))
	for _, v := range kv {
		b = append(b, v...)
	}
	return b
}
