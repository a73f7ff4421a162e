package msgpack_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire/msgpack"
)

// jsonMaker makes JSON of any kind, as encoding/json would read it, and as it may be written.
type jsonMaker struct {
	*rand.Rand
}

// integer returns digits of any length, most near where 64 bits end.
func (m jsonMaker) integer() string {
	bits := []uint{1, 7, 8, 15, 16, 31, 32, 53, 63, 64, 65, 80}[m.IntN(12)]
	n := new(big.Int).Lsh(big.NewInt(1), bits)
	n.Add(n, big.NewInt(m.Int64N(5)-2))
	if m.IntN(2) == 0 {
		n.Neg(n)
	}
	return n.String()
}

// float returns a float of any bits, with a fraction or an exponent.
func (m jsonMaker) float() string {
	f := math.Float64frombits(m.Uint64())
	for math.IsNaN(f) || math.IsInf(f, 0) {
		f = math.Float64frombits(m.Uint64())
	}
	if m.IntN(3) == 0 {
		f = float64(m.Int64N(1 << 20)) // such as 2.0
	}
	text := strconv.FormatFloat(f, "eEfg"[m.IntN(3)], -1, 64)
	if !strings.ContainsAny(text, ".eE") {
		text += ".0"
	}
	return text
}

// text returns any valid UTF-8, or what JSON has no other sign for.
func (m jsonMaker) text() string {
	var s strings.Builder
	for range m.IntN(8) {
		switch m.IntN(4) {
		case 0:
			s.WriteByte(byte(m.IntN(128)))
		case 1:
			s.WriteString([]string{`"`, `\`, "\u2028", "\x1b[2J", "\u202e", "\ufffd", "\x00", "$bin", "é", "😀"}[m.IntN(10)])
		default:
			s.WriteRune(rune(m.IntN(0xd800)))
		}
	}
	return s.String()
}

func quoted(s string) string {
	out, _ := json.Marshal(s)
	return string(out)
}

// value returns a value, and whether it can be kept as it is.
func (m jsonMaker) value(depth int) (text string, ok bool) {
	kind := m.IntN(7)
	if depth == 0 {
		kind = m.IntN(5)
	}
	switch kind {
	case 0:
		return []string{"null", "true", "false"}[m.IntN(3)], true
	case 1, 2:
		text = m.integer()
		n, _ := new(big.Int).SetString(text, 10)
		return text, n.IsInt64() || n.IsUint64()
	case 3:
		return m.float(), true
	case 4:
		return quoted(m.text()), true
	}
	var inside []string
	ok = true
	for i := range m.IntN(4) {
		v, fits := m.value(depth - 1)
		ok = ok && fits
		if kind == 6 {
			v = quoted(fmt.Sprint(i, m.text())) + ":" + v // each key once
		}
		inside = append(inside, v)
	}
	if kind == 6 {
		return "{" + strings.Join(inside, ",") + "}", ok
	}
	return "[" + strings.Join(inside, ",") + "]", ok
}

// Any JSON comes back as it was: integers to 64 bits exactly, and refused beyond; floats as
// floats, bit by bit; texts as texts.
func TestAnyJSONComesBack(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	m := jsonMaker{rand.New(rand.NewPCG(seed, 0))}
	kept := 0
	for range 5_000 {
		text, fits := m.value(3)
		raw, err := msgpack.FromJSON([]byte(text))
		if !fits {
			require.ErrorContains(t, err, "does not fit into 64 bits", text)
			require.ErrorContains(t, err, "write it as a string", text)
			continue
		}
		require.NoError(t, err, text)
		kept++
		shown, err := raw.MarshalJSON()
		require.NoError(t, err, text)
		require.Equal(t, meaning(t, text), meaning(t, string(shown)), "%s is shown as %s", text, shown)
		again, err := msgpack.FromJSON(shown)
		require.NoError(t, err, "%s", shown)
		require.Equal(t, raw, again, "%s is shown as %s", text, shown)
	}
	require.Greater(t, kept, 2_500)
}

// meaning returns what JSON says, with the kind of each number.
func meaning(t *testing.T, text string) any {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var v any
	require.NoError(t, dec.Decode(&v), text)
	return numbered(v)
}

func numbered(v any) any {
	switch v := v.(type) {
	case json.Number:
		if strings.ContainsAny(v.String(), ".eE") {
			f, _ := v.Float64()
			return math.Float64bits(f)
		}
		return v.String()
	case []any:
		for i := range v {
			v[i] = numbered(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = numbered(v[key])
		}
	}
	return v
}
