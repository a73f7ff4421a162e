package msgpack

import (
	"reflect"
	"strings"
	"unicode"
)

// structField is a field of a struct as it is on the wire.
type structField struct {
	name      string
	index     []int
	omitEmpty bool
}

func (f structField) written(v reflect.Value) bool {
	if !f.omitEmpty {
		return true
	}
	switch field := v.FieldByIndex(f.index); field.Kind() {
	case reflect.Array, reflect.Map, reflect.Slice, reflect.String:
		return field.Len() > 0
	case reflect.Struct:
		return true
	default:
		return !field.IsZero()
	}
}

// structs remembers, for one call, how the structs in it are written.
type structs map[reflect.Type][]structField

func (s *structs) of(t reflect.Type) ([]structField, error) {
	if fields, known := (*s)[t]; known {
		return fields, nil
	}
	fields, err := structFields(t)
	if err != nil {
		return nil, err
	}
	if *s == nil {
		*s = structs{}
	}
	(*s)[t] = fields
	return fields, nil
}

// structFields lists what is written of a struct, in the order of its fields. A
// struct that can only be written as nothing is refused, as it means something.
func structFields(t reflect.Type) ([]structField, error) {
	var fields []structField
	at := map[string]int{} // of a name in fields
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("macula")
		name, options, _ := strings.Cut(tag, ",")
		switch {
		case tag == "-":
			continue
		case f.Anonymous && f.Type.Kind() == reflect.Struct && name == "":
			embedded, err := structFields(f.Type)
			if err != nil && f.IsExported() {
				return nil, err
			}
			for _, inner := range embedded {
				inner.index = append([]int{i}, inner.index...)
				switch j, taken := at[inner.name]; {
				case !taken:
					at[inner.name] = len(fields)
					fields = append(fields, inner)
				case len(fields[j].index) > 1:
					return nil, unsupported("%s, where two embedded fields are named %q", t, inner.name)
				}
			}
			continue
		case !f.IsExported():
			continue
		case options != "" && options != "omitempty":
			return nil, unsupported("%s.%s, with the tag %q", t, f.Name, tag)
		case name == "":
			name = snakeCase(f.Name)
		}
		own := structField{name, []int{i}, options == "omitempty"}
		switch j, taken := at[name]; {
		case !taken:
			at[name] = len(fields)
			fields = append(fields, own)
		case len(fields[j].index) > 1: // an embedded one gives way
			fields[j] = own
		default:
			return nil, unsupported("%s, where two fields are named %q", t, name)
		}
	}
	if len(fields) == 0 && t.NumField() > 0 {
		return nil, unsupported("%s, which has no exported fields", t)
	}
	return fields, nil
}

// snakeCase writes NodeID as node_id and MaxHTTPConns as max_http_conns.
func snakeCase(name string) string {
	var b strings.Builder
	runes := []rune(name)
	for i, c := range runes {
		if unicode.IsUpper(c) && i > 0 {
			afterLower := !unicode.IsUpper(runes[i-1]) && runes[i-1] != '_'
			beforeLower := i+1 < len(runes) && unicode.IsLower(runes[i+1]) && runes[i-1] != '_'
			if afterLower || beforeLower {
				b.WriteByte('_')
			}
		}
		b.WriteRune(unicode.ToLower(c))
	}
	return b.String()
}
