package wire_test

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
)

// random fills a message with what may stand in it; rich leaves nothing out.
type random struct {
	*rand.Rand
	rich bool
}

func (r random) fill(v reflect.Value) {
	maybe := r.rich || r.IntN(3) > 0
	switch p := v.Addr().Interface().(type) {
	case *wire.Raw:
		if maybe {
			*p = []wire.Raw{num(r.Int64()), fields("a", list(str("x"))), nilValue, anExt, bin("")}[r.IntN(5)]
		}
		return
	case *[]byte:
		if maybe {
			*p = []byte(r.text())
		}
		return
	case *[]wire.Raw:
		if maybe {
			*p = []wire.Raw{fields("n", num(r.Int64())), fields()}
		}
		return
	case *wire.Opt[int64]:
		if maybe {
			*p = wire.Some(r.integer())
		}
		return
	case **wire.CallError:
		if maybe {
			*p = &wire.CallError{Code: r.text(), Message: r.text()}
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			r.fill(v.Field(i))
		}
	case reflect.String:
		if maybe {
			v.SetString(r.text())
		}
	case reflect.Int64:
		v.SetInt(r.integer())
	case reflect.Bool:
		v.SetBool(r.rich || r.IntN(2) == 0)
	case reflect.Slice:
		if maybe {
			v.Set(reflect.MakeSlice(v.Type(), 1+r.IntN(4), 4))
			r.rich = r.rich || v.Type().Elem().Kind() == reflect.Slice // nil is no element
			for i := range v.Len() {
				r.fill(v.Index(i))
			}
		}
	default:
		panic(v.Type())
	}
}

func (r random) text() string {
	n := r.IntN(4)
	if r.IntN(10) == 0 {
		n = wire.MaxField
	}
	if r.rich {
		n = max(n, 1)
	}
	return strings.Repeat(string(rune('a'+r.IntN(26))), n)
}

func (r random) integer() int64 {
	i := r.Int64() >> r.IntN(64)
	if r.IntN(2) == 0 {
		return -i
	}
	return i
}

// message returns a random message that can be told from its bytes: what must be
// there is, and nothing that another field rules out.
func (r random) message(t *testing.T, typ wire.Type) wire.Message {
	m, _ := decode(typ, raw(0x80))
	r.fill(reflect.ValueOf(m).Elem())
	full := random{r.Rand, true}
	switch m := m.(type) {
	case *wire.FindNodeReply:
		if r.IntN(3) > 0 {
			m.Reason = ""
		}
		r.name(m.Nodes)
	case *wire.FindValueReply:
		if r.IntN(3) > 0 {
			m.Reason = ""
		}
		m.ExpiresIn = nil
		if r.IntN(2) == 0 {
			m.ExpiresIn = make([]int64, len(m.Values))
			for i := range m.ExpiresIn {
				m.ExpiresIn[i] = r.integer()
			}
		}
		m.Proofs = nil
		if r.IntN(2) == 0 {
			m.Proofs = make([][]byte, len(m.Values))
			for i := range m.Proofs {
				m.Proofs[i] = []byte(r.text())
			}
		}
		if len(m.Values) == 0 {
			m.ExpiresIn, m.Proofs = nil, nil
		}
		r.name(m.Nodes)
	case *wire.Store:
		if m.Value == nil && len(m.Proof) == 0 {
			m.Value = fields()
		}
	case *wire.Reply:
		if m.Error != nil && m.Error.Code == "" && m.Error.Message == "" {
			m.Error.Code = "c"
		}
		if m.Error == nil && m.Result == nil {
			m.Result = nilValue
		}
	}
	for _, f := range fieldTable { // in the Go field of that name
		if f.typ != typ || !f.required {
			continue
		}
		field := reflect.ValueOf(m).Elem().FieldByNameFunc(func(name string) bool {
			return strings.HasPrefix(strings.ReplaceAll(f.name, "_", ""), strings.ToLower(name))
		})
		require.True(t, field.IsValid(), f.name)
		if field.Len() == 0 {
			full.fill(field)
		}
	}
	exclusive(m)
	return m
}

// name gives the nodes an id that have none.
func (r random) name(nodes []wire.Node) {
	for i := range nodes {
		if nodes[i].ID == nil {
			nodes[i].ID = []byte(r.text())
		}
	}
}

// Whatever a message says, it says the same after it has travelled, also when
// its fields come in another order or among unknown ones.
func TestMessagesRoundTrip(t *testing.T) {
	for _, typ := range typed() {
		t.Run(typ.String(), func(t *testing.T) {
			r := random{rand.New(rand.NewPCG(1, uint64(typ))), false}
			for range 300 {
				m := r.message(t, typ)
				payload := m.AppendPayload(nil)
				got, err := decode(typ, payload)
				require.NoError(t, err)
				require.Equal(t, m, got)
				require.Equal(t, payload, got.AppendPayload(nil))

				var pairs []wire.Pair
				for key, value := range wire.Raw(payload).Fields() {
					name, _ := key.Bytes()
					pairs = append(pairs, wire.Pair{Key: string(name), Value: value})
				}
				pairs = append(pairs, wire.Pair{Key: "zz"}, wire.Pair{Key: "", Value: list(num(1))})
				r.Shuffle(len(pairs), func(i, j int) { pairs[i], pairs[j] = pairs[j], pairs[i] })
				shuffled, err := decode(typ, wire.RawMap(pairs...))
				require.NoError(t, err)
				require.Equal(t, m, shuffled, "in another order")
			}
		})
	}
}

// What a message writes is what it reads: the fields of the table, and the type
// and result that an Erlang node wants.
func TestMessagesWriteTheirFields(t *testing.T) {
	for _, typ := range typed() {
		r := random{rand.New(rand.NewPCG(2, uint64(typ))), true}
		written := map[string]bool{}
		for range 50 {
			for key := range wire.Raw(r.message(t, typ).AppendPayload(nil)).Fields() {
				name, _ := key.Bytes()
				written[string(name)] = true
			}
			r.rich = !r.rich // some fields rule others out
		}
		want := []string{}
		for _, f := range fieldTable {
			if f.typ == typ {
				want = append(want, f.name)
			}
		}
		switch typ {
		case wire.TypeFindNode, wire.TypeStore, wire.TypeFindNodeReply:
			want = append(want, "type")
		case wire.TypeFindValueReply:
			want = append(want, "type", "result")
		}
		slices.Sort(want)
		got := []string{}
		for name := range written {
			got = append(got, name)
		}
		slices.Sort(got)
		assert.Equal(t, want, got, typ)
	}
}
