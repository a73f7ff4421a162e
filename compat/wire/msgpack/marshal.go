package msgpack

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tinylib/msgp/msgp"
)

// What can be wrong with a Go value, or with a value for one. Compare with
// errors.Is: the errors that are returned are a [PathError] where there is a
// path.
var (
	// ErrUnsupported: a Go value or type that has no form in the dialect, such as
	// a channel, a map whose keys are no strings, a NaN, or an invalid target.
	ErrUnsupported = errors.New("unsupported Go value")
	// ErrTooDeep: more than MaxValueDepth levels, or a value that holds itself.
	ErrTooDeep = errors.New("nested too deep")
	// ErrMismatch: the value is of another type than the Go value it is for.
	ErrMismatch = errors.New("mistyped value")
	// ErrRange: a number that the Go type can not hold.
	ErrRange = errors.New("number out of range")
	// ErrTooLarge: a value longer than a payload can be, or one that would take
	// far more memory than its length.
	ErrTooLarge = errors.New("value too large")
)

// PathError says where in a value an error is, such as "metadata.tags[2]".
type PathError struct {
	Path string
	Err  error
}

func (e *PathError) Error() string { return e.Path + ": " + e.Err.Error() }

func (e *PathError) Unwrap() error { return e.Err }

// within puts the name of a field or "[index]" before the path of an error.
func within(elem string, err error) error {
	inner, ok := err.(*PathError)
	if !ok {
		return &PathError{elem, err}
	}
	if inner.Path[0] != '[' {
		elem += "."
	}
	return &PathError{elem + inner.Path, inner.Err}
}

func index(i int) string { return fmt.Sprintf("[%d]", i) }

// pathKey is a map's key in a path: a peer may have chosen it.
func pathKey(key string) string {
	const longest = 40
	if len(key) > longest {
		key = key[:longest] + "…"
	}
	quoted := strconv.Quote(key)
	if key == "" || quoted != `"`+key+`"` || strings.ContainsAny(key, " .[]") {
		return quoted
	}
	return key
}

// maxLength is the length of the longest payload, in bytes.
const maxLength = 1 << 20

// maxPointers is how many pointers and interfaces may be followed to one value.
const maxPointers = 32

var (
	rawType      = reflect.TypeFor[Raw]()
	durationType = reflect.TypeFor[time.Duration]()
)

// Marshal returns a Go value in the dialect (docs/PROTOCOL.md, frames):
//
//   - strings, []byte and arrays of bytes are bin, never str;
//   - integers are of the smallest form; a [time.Duration] is its whole seconds,
//     as ttl is, and must have no others; floats are float64 and finite, as an
//     Erlang node knows no other;
//   - structs and maps with keys of a string type are maps whose keys are bin, a
//     struct's in the order of its fields, a map's sorted;
//   - slices and arrays are arrays; a nil slice or map is an empty one;
//   - nil pointers and interfaces are nil, others what they lead to;
//   - a [Raw] is passed through if it is one value that may be read; an empty one
//     is nil.
//
// A struct's exported fields are named by their tag, `macula:"name,omitempty"`,
// or in snake case: NodeID is node_id. The tag "-" leaves a field out, and
// omitempty one that is false, 0, nil or of length 0. The fields of an embedded
// struct without a tag are the outer one's, as far as that has none of the name;
// embedded pointers are fields like any other.
//
// At most MaxValueDepth levels may be nested: else the error is an ErrTooDeep, or
// ErrMalformed for a Raw. What has no form is an ErrUnsupported, and what is
// longer than 1 MiB an ErrTooLarge.
func Marshal(v any) (Raw, error) {
	var e encoder
	if err := e.value(reflect.ValueOf(v), MaxValueDepth); err != nil {
		return nil, err
	}
	if len(e.b) > maxLength {
		return nil, fmt.Errorf("%w: %d bytes, limit %d", ErrTooLarge, len(e.b), maxLength)
	}
	return e.b, nil
}

type encoder struct {
	b       Raw
	structs structs
}

func unsupported(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrUnsupported}, args...)...)
}

// value appends v, which may open that many levels.
func (e *encoder) value(v reflect.Value, depth int) error {
	for range maxPointers {
		if v.Kind() != reflect.Pointer && v.Kind() != reflect.Interface {
			break
		}
		v = v.Elem()
	}
	if !v.IsValid() {
		e.b = msgp.AppendNil(e.b)
		return nil
	}
	if v.Type() == rawType {
		return e.raw(v.Bytes(), depth)
	}
	if len(e.b) > maxLength {
		return fmt.Errorf("%w: more than %d bytes", ErrTooLarge, maxLength)
	}
	switch v.Kind() {
	case reflect.Bool:
		e.b = msgp.AppendBool(e.b, v.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		i := v.Int()
		if v.Type() == durationType {
			if i%int64(time.Second) != 0 {
				return unsupported("%s is no number of whole seconds", time.Duration(i))
			}
			i /= int64(time.Second)
		}
		e.b = AppendInt(e.b, i)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		e.b = msgp.AppendUint64(e.b, v.Uint())
	case reflect.Float32, reflect.Float64:
		f := v.Float()
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return unsupported("%v", f)
		}
		e.b = msgp.AppendFloat64(e.b, f)
	case reflect.String:
		e.b = AppendBin(e.b, v.String())
	case reflect.Slice, reflect.Array:
		return e.list(v, depth)
	case reflect.Map:
		return e.mapping(v, depth)
	case reflect.Struct:
		return e.structure(v, depth)
	case reflect.Pointer, reflect.Interface:
		return fmt.Errorf("%w: pointers to pointers", ErrTooDeep)
	default:
		return unsupported("%s", v.Type())
	}
	return nil
}

func (e *encoder) raw(r Raw, depth int) error {
	if len(r) > 0 {
		if err := r.Check(depth); err != nil {
			return err
		}
	}
	e.b = AppendRaw(e.b, r)
	return nil
}

func (e *encoder) list(v reflect.Value, depth int) error {
	if v.Type().Elem().Kind() == reflect.Uint8 {
		if v.Kind() == reflect.Array && !v.CanAddr() { // its bytes can not be had otherwise
			addressable := reflect.New(v.Type()).Elem()
			addressable.Set(v)
			v = addressable
		}
		e.b = AppendBin(e.b, v.Bytes())
		return nil
	}
	if depth == 0 {
		return ErrTooDeep
	}
	e.b = msgp.AppendArrayHeader(e.b, uint32(v.Len()))
	for i := range v.Len() {
		if err := e.value(v.Index(i), depth-1); err != nil {
			return within(index(i), err)
		}
	}
	return nil
}

func (e *encoder) mapping(v reflect.Value, depth int) error {
	if v.Type().Key().Kind() != reflect.String {
		return unsupported("%s, whose keys are no strings", v.Type())
	}
	if depth == 0 {
		return ErrTooDeep
	}
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	e.b = msgp.AppendMapHeader(e.b, uint32(len(keys)))
	for _, key := range keys {
		e.b = AppendBin(e.b, key.String())
		if err := e.value(v.MapIndex(key), depth-1); err != nil {
			return within(pathKey(key.String()), err)
		}
	}
	return nil
}

func (e *encoder) structure(v reflect.Value, depth int) error {
	all, err := e.structs.of(v.Type())
	if err != nil {
		return err
	}
	if depth == 0 {
		return ErrTooDeep
	}
	n := 0
	for _, f := range all {
		if f.written(v) {
			n++
		}
	}
	e.b = msgp.AppendMapHeader(e.b, uint32(n))
	for _, f := range all {
		if !f.written(v) {
			continue
		}
		e.b = AppendBin(e.b, f.name)
		if err := e.value(v.FieldByIndex(f.index), depth-1); err != nil {
			return within(f.name, err)
		}
	}
	return nil
}
