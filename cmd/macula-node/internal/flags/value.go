package flags

import (
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/values"
)

// ValueExample is how a VALUE looks.
const ValueExample = "write a JSON object, such as " + ExampleValue

// ExampleValue is a provider, under an id that Erlang nodes take without harm.
const ExampleValue = `{"node_id": "2bd806c97f0e00af1a1fc3328fa763a9269723c8db8fac4f93af71db186d6e90", "endpoint": "https://127.0.0.1:8080"}`

// ParseValue reads a VALUE as it is typed. Errors are of usage, with how it is written.
func ParseValue(text string) (values.Value, error) {
	if err := CheckText("VALUE", text); err != nil {
		return values.Value{}, err
	}
	raw, err := wire.FromJSON([]byte(text))
	if err != nil {
		return values.Value{}, Usagef("VALUE '%s': %w; %s", Shorten(text), err, ValueExample)
	}
	if raw.Kind() != wire.Map {
		return values.Value{}, Usagef("VALUE '%s' is not an object; %s", Shorten(text), ValueExample)
	}
	if ttl, ok := raw.Field("ttl"); ok {
		if seconds, whole := ttl.Whole(); !whole || seconds <= 0 {
			shown, _ := ttl.MarshalJSON() // it came from JSON
			return values.Value{}, Usagef(`VALUE has the "ttl" %s: write whole seconds, 1 or more (above 86400 counts as 86400)`, Shorten(string(shown)))
		}
	}
	value, err := values.Parse(raw)
	if err != nil {
		return values.Value{}, Usagef("VALUE: %w", err)
	}
	return value, nil
}

// Shorten returns the beginning of a text that may be long.
func Shorten(text string) string {
	const most = 60
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}
