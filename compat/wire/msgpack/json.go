package msgpack

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"unicode"
	"unicode/utf8"

	"github.com/tinylib/msgp/msgp"
)

// binKey marks binary in JSON: {"$bin": "<hex>"}.
const binKey = "$bin"

// MarshalJSON shows the value to people: texts as strings, be they bin or str,
// other bin as {"$bin": "<hex>"}, maps with their last value of a key. Keys that
// are no text are shown as their JSON, maps and lists among them in hexadecimal.
func (r Raw) MarshalJSON() ([]byte, error) {
	if err := r.Check(MaxDepth); err != nil {
		return nil, err
	}
	v, err := r.plain()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

func (r Raw) plain() (any, error) {
	switch kind := r.Kind(); kind {
	case Nil:
		return nil, nil
	case Bool:
		b, _ := r.Bool()
		return b, nil
	case Int:
		if r[0] == 0xcf { // may be above the int64 range
			return r.uint(), nil
		}
		return r.int(), nil
	case Float:
		f := r.float()
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return strconv.FormatFloat(f, 'g', -1, 64), nil // JSON has no such number
		}
		return f, nil
	case Bin, Text:
		b, _ := r.Bytes()
		if printable(b) {
			return string(b), nil
		}
		return map[string]string{binKey: hex.EncodeToString(b)}, nil
	case Array:
		list := []any{}
		for e := range r.Elems() {
			v, err := e.plain()
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case Map:
		m := map[string]any{}
		for key, value := range r.Fields() {
			v, err := value.plain()
			if err != nil {
				return nil, err
			}
			m[jsonKey(key)] = v
		}
		return m, nil
	default:
		return nil, fmt.Errorf("%w: a %s has no JSON", ErrMalformed, kind)
	}
}

func jsonKey(key Raw) string {
	if b, ok := key.Bytes(); ok && printable(b) {
		return string(b)
	}
	if b, ok := key.Bytes(); ok {
		return hex.EncodeToString(b)
	}
	if kind := key.Kind(); kind == Map || kind == Array {
		// JSON in a string in JSON would double with every level.
		return hex.EncodeToString(key)
	}
	text, err := json.Marshal(key)
	if err != nil {
		return "?"
	}
	return string(text)
}

// printable reports whether b is text that a person can read.
func printable(b []byte) bool {
	if !utf8.Valid(b) {
		return false
	}
	for _, c := range string(b) {
		if !unicode.IsPrint(c) && c != '\n' && c != '\t' {
			return false
		}
	}
	return true
}

// FromJSON reads one JSON value as MessagePack: strings become bin, {"$bin":
// "<hex>"} becomes the bytes, numbers without fraction and exponent become
// integers as far as 64 bits go, all others floats.
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
	if i, err := strconv.ParseInt(n.String(), 10, 64); err == nil {
		return AppendInt(b, i), nil
	}
	if u, err := strconv.ParseUint(n.String(), 10, 64); err == nil {
		return msgp.AppendUint64(b, u), nil
	}
	f, err := n.Float64()
	if err != nil {
		return nil, fmt.Errorf("number %s: %w", n, err)
	}
	return msgp.AppendFloat64(b, f), nil
}
