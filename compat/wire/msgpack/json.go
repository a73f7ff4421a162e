package msgpack

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/tinylib/msgp/msgp"
)

// binKey marks binary in JSON: {"$bin": "<hex>"}.
const binKey = "$bin"

// MarshalJSON shows the value to people, so that FromJSON reads what is shown:
// bin as strings where it is UTF-8, else as {"$bin": "<hex>"}; str, by which an
// Erlang node sends a list of small integers, as the list of its code points;
// floats with a fraction or an exponent; maps by their keys in order, with their
// last value of a key. Keys that are no text are shown as their JSON, maps and
// lists among them in hexadecimal. Of all this only NaN and the infinities, which
// JSON has not, come back as something else: as strings.
//
// What steers a terminal is escaped, see [EscapeJSON].
func (r Raw) MarshalJSON() ([]byte, error) {
	if err := r.Check(MaxDepth); err != nil {
		return nil, err
	}
	return r.appendJSON(nil)
}

func (r Raw) appendJSON(out []byte) ([]byte, error) {
	switch kind := r.Kind(); kind {
	case Nil:
		return append(out, "null"...), nil
	case Bool:
		b, _ := r.Bool()
		return strconv.AppendBool(out, b), nil
	case Int:
		if r[0] == 0xcf { // may be above the int64 range
			return strconv.AppendUint(out, r.uint(), 10), nil
		}
		return strconv.AppendInt(out, r.int(), 10), nil
	case Float:
		return appendFloat(out, r.float()), nil
	case Bin:
		b, _ := r.Bytes()
		if !utf8.Valid(b) {
			return fmt.Appendf(out, `{%q:"%x"}`, binKey, b), nil
		}
		return appendString(out, string(b)), nil
	case Text:
		b, _ := r.Bytes()
		return appendCodePoints(out, string(b)), nil
	case Array:
		out = append(out, '[')
		separate := false
		for e := range r.Elems() {
			if separate {
				out = append(out, ',')
			}
			separate = true
			var err error
			if out, err = e.appendJSON(out); err != nil {
				return nil, err
			}
		}
		return append(out, ']'), nil
	case Map:
		return r.appendObject(out)
	default:
		return nil, fmt.Errorf("%w: a %s has no JSON", ErrMalformed, kind)
	}
}

func (r Raw) appendObject(out []byte) ([]byte, error) {
	fields := make(map[string]Raw)
	for key, value := range r.Fields() {
		fields[jsonKey(key)] = value
	}
	out = append(out, '{')
	for i, key := range slices.Sorted(maps.Keys(fields)) {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(appendString(out, key), ':')
		var err error
		if out, err = fields[key].appendJSON(out); err != nil {
			return nil, err
		}
	}
	return append(out, '}'), nil
}

// appendFloat writes a number that reads as a float again.
func appendFloat(out []byte, f float64) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(strconv.AppendFloat(append(out, '"'), f, 'g', -1, 64), '"') // JSON has no such number
	}
	form := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) { // as JavaScript does
		form = 'e'
	}
	start := len(out)
	out = strconv.AppendFloat(out, f, form, -1, 64)
	if !bytes.ContainsAny(out[start:], ".e") {
		out = append(out, ".0"...)
	}
	return out
}

func appendCodePoints(out []byte, text string) []byte {
	out = append(out, '[')
	for i, c := range text {
		if i > 0 {
			out = append(out, ',')
		}
		out = strconv.AppendInt(out, int64(c), 10)
	}
	return append(out, ']')
}

func appendString(out []byte, text string) []byte {
	var quoted bytes.Buffer
	enc := json.NewEncoder(&quoted)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(text) // a string has a JSON
	return append(out, EscapeJSON(bytes.TrimSuffix(quoted.Bytes(), []byte("\n")))...)
}

// EscapeJSON has a terminal show a JSON text as it is and not obey it: what is
// neither a visible character nor a space stands as \u and four digits, but for
// what joins and parts letters and emoji, and for line feeds between the tokens.
// It means the same JSON.
func EscapeJSON(text []byte) []byte {
	if !bytes.ContainsFunc(text, steers) {
		return text
	}
	var out []byte
	for _, c := range string(text) {
		switch {
		case !steers(c):
			out = utf8.AppendRune(out, c)
		case c > 0xffff:
			high, low := utf16.EncodeRune(c)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, c)
		}
	}
	return out
}

// steers reports whether a character may be obeyed rather than shown.
func steers(c rune) bool {
	const joiner, nonJoiner = '\u200d', '\u200c'
	return !unicode.IsGraphic(c) && c != joiner && c != nonJoiner && c != '\n'
}

func jsonKey(key Raw) string {
	b, isText := key.Bytes()
	switch kind := key.Kind(); {
	case isText && utf8.Valid(b):
		return string(b)
	case isText:
		return hex.EncodeToString(b)
	case kind == Map || kind == Array:
		// JSON in a string in JSON would double with every level.
		return hex.EncodeToString(key)
	}
	text, err := key.appendJSON(nil)
	if err != nil {
		return "?"
	}
	return string(text)
}

// FromJSON reads one JSON value as MessagePack: strings become bin, {"$bin":
// "<hex>"} becomes the bytes, numbers without fraction and exponent become
// integers, all others floats. A number that would come out as another one, an
// integer beyond 64 bits or a float out of range, is an error.
func FromJSON(text []byte) (Raw, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	raw, err := appendJSON(nil, dec, MaxDepth)
	if err != nil {
		return nil, fmt.Errorf("not a JSON value: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("not a JSON value: something follows it")
	}
	return raw, nil
}

// appendJSON keeps the order in which the fields were written.
func appendJSON(b []byte, dec *json.Decoder, depth int) ([]byte, error) {
	tok, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch v := tok.(type) {
	case nil:
		return msgp.AppendNil(b), nil
	case bool:
		return msgp.AppendBool(b, v), nil
	case string:
		return AppendBin(b, v), nil
	case json.Number:
		return appendNumber(b, v)
	}
	if depth == 0 {
		return nil, fmt.Errorf("nested deeper than %d levels", MaxDepth)
	}
	isMap := tok == json.Delim('{')
	var inside []byte
	var keys, count uint32
	var lastKey string
	for ; dec.More(); count++ {
		if isMap {
			key, err := dec.Token()
			if err != nil {
				return nil, err
			}
			lastKey, _ = key.(string)
			inside = AppendBin(inside, lastKey)
			keys++
		}
		if inside, err = appendJSON(inside, dec, depth-1); err != nil {
			return nil, err
		}
	}
	if _, err := dec.Token(); err != nil { // the closing bracket
		return nil, err
	}
	switch {
	case isMap && keys == 1 && lastKey == binKey:
		return appendHex(b, Raw(appendMap(nil, 1, inside)))
	case isMap:
		return appendMap(b, count, inside), nil
	default:
		return append(msgp.AppendArrayHeader(b, count), inside...), nil
	}
}

func appendMap(b []byte, n uint32, inside []byte) []byte {
	return append(msgp.AppendMapHeader(b, n), inside...)
}

func appendHex(b []byte, m Raw) ([]byte, error) {
	v, _ := m.Field(binKey)
	digits, ok := v.Bytes()
	if !ok {
		return nil, fmt.Errorf("%q wants hexadecimal digits in a string", binKey)
	}
	bin, err := hex.DecodeString(string(digits))
	if err != nil {
		return nil, fmt.Errorf("%q: %w", binKey, err)
	}
	return AppendBin(b, bin), nil
}

func appendNumber(b []byte, n json.Number) ([]byte, error) {
	text := n.String()
	if i, err := strconv.ParseInt(text, 10, 64); err == nil {
		return AppendInt(b, i), nil
	}
	if u, err := strconv.ParseUint(text, 10, 64); err == nil {
		return msgp.AppendUint64(b, u), nil
	}
	mantissa, _, hasExponent := strings.Cut(strings.ToLower(text), "e")
	if !hasExponent && !strings.Contains(text, ".") {
		return nil, fmt.Errorf("the integer %s does not fit into 64 bits: write it as a string, or as a float with .0", text)
	}
	f, err := n.Float64()
	if err != nil || f == 0 && strings.Trim(mantissa, "-0.") != "" {
		return nil, fmt.Errorf("the number %s is out of range of a 64-bit float: write it as a string", text)
	}
	return msgp.AppendFloat64(b, f), nil
}
