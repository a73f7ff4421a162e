package msgpack

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"time"
	"unicode/utf8"
)

// Unmarshal reads a value into what a non-nil pointer leads to, by the rules of
// [Marshal]. As other MessagePack writers have it otherwise, it also takes
//
//   - str where a text or bytes are wanted;
//   - the empty str, or bin, for an empty list, and a str of code points for a
//     list of integers, as an Erlang node writes both;
//   - a float without a fraction for an integer, as JavaScript writes one, and an
//     integer for a float;
//   - any key that the struct does not know; of a key that is there twice the
//     last counts.
//
// nil makes a pointer, an interface, a slice or a map nil, and leaves all else as
// it is. An array takes a list of its length, and bytes of it. Into an any go
// nil, bool, int64 (uint64 above it), float64, string (bytes too), []any and
// map[string]any. Nothing is shared with raw.
//
// On an error some of the value may have been read. It is an ErrMalformed,
// ErrMismatch, ErrRange, ErrUnsupported for a Go type that nothing can be read
// into, or ErrTooLarge: what is read takes at most 64 KiB and 64 times the length
// of raw, as a peer could else fill memory with short elements of a large type.
func Unmarshal(raw Raw, into any) error {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return unsupported("%T is no pointer to read into", into)
	}
	if err := raw.Check(MaxDepth); err != nil {
		return err
	}
	d := decoder{budget: 64<<10 + 64*len(raw)}
	return d.value(raw, v.Elem())
}

type decoder struct {
	budget  int // bytes that may still be taken
	structs structs
}

// charge takes n times size bytes from the budget.
func (d *decoder) charge(n, size uintptr) error {
	if size > 0 && n > uintptr(d.budget)/size {
		return fmt.Errorf("%w: it takes far more memory than it is long", ErrTooLarge)
	}
	d.budget -= int(n * size)
	return nil
}

func mismatch(found Raw, t reflect.Type) error {
	return fmt.Errorf("%w: %s instead of %s", ErrMismatch, found.Kind(), t)
}

// value reads raw, which is sound, into v, which can be set.
func (d *decoder) value(raw Raw, v reflect.Value) error {
	isNil := raw.Kind() == Nil
	for range maxPointers {
		if v.Kind() != reflect.Pointer || isNil {
			break
		}
		if v.IsNil() {
			if err := d.charge(1, v.Type().Elem().Size()); err != nil {
				return err
			}
			v.Set(reflect.New(v.Type().Elem()))
		}
		v = v.Elem()
	}
	switch kind := v.Kind(); {
	case v.Type() == rawType:
		if err := d.charge(1, uintptr(len(raw))); err != nil {
			return err
		}
		v.SetBytes(bytes.Clone(raw))
		return nil
	case isNil:
		switch kind {
		case reflect.Pointer, reflect.Interface, reflect.Slice, reflect.Map:
			v.SetZero()
		}
		return nil
	case kind == reflect.Slice || kind == reflect.Array:
		return d.list(raw, v)
	case kind == reflect.Map:
		return d.mapping(raw, v)
	case kind == reflect.Struct:
		return d.structure(raw, v)
	case kind == reflect.Interface && v.NumMethod() == 0:
		natural, err := d.natural(raw)
		if err == nil {
			v.Set(reflect.ValueOf(natural))
		}
		return err
	default:
		return d.scalar(raw, v)
	}
}

func (d *decoder) scalar(raw Raw, v reflect.Value) error {
	switch v.Kind() {
	case reflect.Bool:
		b, ok := raw.Bool()
		if !ok {
			return mismatch(raw, v.Type())
		}
		v.SetBool(b)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		i, ok := raw.Whole()
		switch {
		case !ok:
			return mismatch(raw, v.Type())
		case raw[0] == 0xcf && raw.uint() > math.MaxInt64:
			return fmt.Errorf("%w: %d for %s", ErrRange, raw.uint(), v.Type())
		case v.Type() == durationType:
			const most = int64(math.MaxInt64 / time.Second)
			if i < -most || i > most {
				return fmt.Errorf("%w: %d seconds", ErrRange, i)
			}
			i *= int64(time.Second)
		}
		if v.OverflowInt(i) {
			return fmt.Errorf("%w: %d for %s", ErrRange, i, v.Type())
		}
		v.SetInt(i)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		i, ok := raw.Whole()
		if !ok {
			return mismatch(raw, v.Type())
		}
		u := uint64(i)
		if raw[0] == 0xcf {
			u = raw.uint()
		}
		if i < 0 || v.OverflowUint(u) {
			return fmt.Errorf("%w: %d for %s", ErrRange, i, v.Type())
		}
		v.SetUint(u)
	case reflect.Float32, reflect.Float64:
		f, ok := raw.number()
		if !ok {
			return mismatch(raw, v.Type())
		}
		if v.OverflowFloat(f) {
			return fmt.Errorf("%w: %v for %s", ErrRange, f, v.Type())
		}
		v.SetFloat(f)
	case reflect.String:
		b, ok := raw.Bytes()
		if !ok {
			return mismatch(raw, v.Type())
		}
		if err := d.charge(1, uintptr(len(b))); err != nil {
			return err
		}
		v.SetString(string(b))
	default:
		return unsupported("%s to read into", v.Type())
	}
	return nil
}

// list reads into a slice or an array.
func (d *decoder) list(raw Raw, v reflect.Value) error {
	text, isText := raw.Bytes()
	elem := v.Type().Elem()
	switch {
	case elem.Kind() == reflect.Uint8:
		if !isText {
			return mismatch(raw, v.Type())
		}
		return d.bytes(text, v)
	case isText && len(text) > 0 && !(raw.Kind() == Text && isInteger(elem)), !isText && raw.Kind() != Array:
		return mismatch(raw, v.Type())
	}
	head, _ := Scan(raw)
	n := int(head.Size) // as many are there, as raw is sound
	if isText {
		n = utf8.RuneCount(text)
	}
	if v.Kind() == reflect.Slice {
		if err := d.charge(uintptr(n), elem.Size()); err != nil {
			return err
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
	} else if n != v.Len() {
		return fmt.Errorf("%w: %d instead of the %d of %s", ErrMismatch, n, v.Len(), v.Type())
	}
	i := 0
	for _, point := range string(text) { // of code points
		if err := d.value(RawInt(int64(point)), v.Index(i)); err != nil {
			return within(index(i), err)
		}
		i++
	}
	for e := range raw.Elems() {
		if err := d.value(e, v.Index(i)); err != nil {
			return within(index(i), err)
		}
		i++
	}
	return nil
}

func (d *decoder) bytes(text []byte, v reflect.Value) error {
	if v.Kind() == reflect.Slice {
		if err := d.charge(1, uintptr(len(text))); err != nil {
			return err
		}
		v.SetBytes(append([]byte{}, text...))
		return nil
	}
	if len(text) != v.Len() {
		return fmt.Errorf("%w: %d bytes instead of %d", ErrMismatch, len(text), v.Len())
	}
	for i, c := range text {
		v.Index(i).SetUint(uint64(c))
	}
	return nil
}

func isInteger(t reflect.Type) bool {
	return t.Kind() >= reflect.Int && t.Kind() <= reflect.Uintptr
}

func (d *decoder) mapping(raw Raw, v reflect.Value) error {
	t := v.Type()
	switch {
	case t.Key().Kind() != reflect.String:
		return unsupported("%s, whose keys are no strings", t)
	case raw.Kind() != Map:
		return mismatch(raw, t)
	}
	if err := d.charge(1, mapSize); err != nil {
		return err
	}
	v.Set(reflect.MakeMap(t))
	for key, field := range raw.Fields() {
		name, ok := key.Bytes()
		if !ok {
			return fmt.Errorf("%w: a key that is a %s", ErrMismatch, key.Kind())
		}
		if err := d.charge(1, entrySize(t)+uintptr(len(name))); err != nil {
			return err
		}
		k, elem := reflect.New(t.Key()).Elem(), reflect.New(t.Elem()).Elem()
		k.SetString(string(name))
		if err := d.value(field, elem); err != nil {
			return within(pathKey(string(name)), err)
		}
		v.SetMapIndex(k, elem)
	}
	return nil
}

// What a list in an any, a map and an entry take, about.
const (
	listSize = 32
	mapSize  = 48
)

func entrySize(t reflect.Type) uintptr { return t.Key().Size() + t.Elem().Size() }

func (d *decoder) structure(raw Raw, v reflect.Value) error {
	all, err := d.structs.of(v.Type())
	switch {
	case err != nil:
		return err
	case raw.Kind() != Map:
		return mismatch(raw, v.Type())
	}
	seen := make([]bool, len(all))
	for key, value := range raw.Fields() {
		name, _ := key.Bytes()
		for i, f := range all {
			if f.name != string(name) {
				continue
			}
			field := v.FieldByIndex(f.index)
			if seen[i] { // the last counts, and nothing of the others
				field.SetZero()
			}
			seen[i] = true
			if err := d.value(value, field); err != nil {
				return within(f.name, err)
			}
			break
		}
	}
	return nil
}

// natural returns what goes into an any.
func (d *decoder) natural(raw Raw) (any, error) {
	const cost = 16 // of what an any leads to
	switch raw.Kind() {
	case Bool:
		b, _ := raw.Bool()
		return b, d.charge(1, cost)
	case Int:
		if raw[0] == 0xcf && raw.uint() > math.MaxInt64 {
			return raw.uint(), d.charge(1, cost)
		}
		return raw.int(), d.charge(1, cost)
	case Float:
		return raw.float(), d.charge(1, cost)
	case Array:
		list := []any{}
		if err := d.charge(1, listSize); err != nil {
			return nil, err
		}
		err := d.list(raw, reflect.ValueOf(&list).Elem())
		return list, err
	case Map:
		m := map[string]any{}
		err := d.mapping(raw, reflect.ValueOf(&m).Elem())
		return m, err
	default:
		b, _ := raw.Bytes()
		return string(b), d.charge(1, cost+uintptr(len(b)))
	}
}

// number returns a float, and an integer as one.
func (r Raw) number() (float64, bool) {
	switch r.Kind() {
	case Float:
		return r.float(), true
	case Int:
		if r[0] == 0xcf {
			return float64(r.uint()), true
		}
		return float64(r.int()), true
	}
	return 0, false
}
