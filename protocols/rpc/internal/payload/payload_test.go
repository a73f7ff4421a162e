package payload

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
)

func TestForms(t *testing.T) {
	deep := wire.RawInt(1)
	for range 20 {
		deep = wire.RawArray(deep)
	}
	aMap := wire.RawMap(wire.Pair{Key: "x", Value: wire.RawInt(1)})
	for name, test := range map[string]struct {
		p                   Payload
		value, text, routed wire.Raw // nil for an error
	}{
		"JSON":                   {OfText(wire.RawText(`{"x":1}`)), aMap, wire.RawText(`{"x":1}`), wire.RawText(`{"x":1}`)},
		"a text that is no JSON": {OfText(wire.RawText("hello")), wire.RawText("hello"), wire.RawText("hello"), wire.RawText("hello")},
		"a map":                  {OfText(aMap), aMap, wire.RawText(`{"x":1}`), aMap},
		"a value":                {OfValue(aMap), aMap, wire.RawText(`{"x":1}`), aMap},
		"a text":                 {OfValue(wire.RawText("7")), wire.RawText("7"), wire.RawText(`"7"`), wire.RawText(`"7"`)},
		"bytes":                  {OfValue(wire.RawBytes([]byte{0xff})), wire.RawBytes([]byte{0xff}), wire.RawText(`{"$bin":"ff"}`), wire.RawText(`{"$bin":"ff"}`)},
		"nothing":                {Payload{}, wire.Raw{0xc0}, wire.RawText("null"), wire.Raw{0xc0}},
		"too deep":               {OfValue(deep), nil, nil, nil},
		"damaged":                {OfValue(wire.Raw{0x81}), nil, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			for form, want := range map[string]wire.Raw{"value": test.value, "text": test.text, "routed": test.routed} {
				got, err := map[string]func(Payload) (wire.Raw, error){"value": Payload.Value, "text": Payload.Text, "routed": Payload.Routed}[form](test.p)
				require.Equal(t, want == nil, err != nil, "%s: %v", form, err)
				if err == nil {
					require.Equal(t, want, got, form)
				}
			}
		})
	}
}

// FuzzForms: whatever came, its forms are well-formed, and say the same where they are
// read again.
func FuzzForms(f *testing.F) {
	for _, seed := range [][]byte{
		wire.RawText(`{"x":1}`), wire.RawText("hello"), wire.RawText(`[1.5,null,"ü"]`), wire.RawBytes([]byte{0xff, 0}),
		wire.RawMap(wire.Pair{Key: "x", Value: wire.RawInt(-1)}), {0xc0}, {0x81}, {}, {0xa3, 'a', 'b', 'c'}, {0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 1},
	} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, raw []byte, text bool) {
		of := OfValue
		if text {
			of = OfText
		}
		p := of(raw)
		v, err := p.Value()
		if err != nil {
			return
		}
		require.NoError(t, v.Check(wire.MaxDepth))
		routed, err := p.Routed()
		if err != nil {
			return
		}
		again, err := OfText(routed).Value()
		require.NoError(t, err)
		require.NoError(t, again.Check(wire.MaxDepth))
		if kind := v.Kind(); kind == wire.Map || kind == wire.Array {
			require.Equal(t, v, again)
		}
	})
}
