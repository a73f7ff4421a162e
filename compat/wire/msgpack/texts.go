package msgpack

import (
	"fmt"
	"unicode/utf8"
)

// TextsAsBin returns v with every str, keys included, rewritten as bin: most
// MessagePack libraries write str, which an Erlang node can not read as text.
// Where there is no str it returns v itself. The result may be longer than v.
func TextsAsBin(v Raw) (Raw, error) {
	texts := 0
	count := func(t Token, _ []byte) error {
		if t.Kind == Text {
			texts++
		}
		return nil
	}
	n, err := walk(v, MaxDepth, true, count)
	if err != nil {
		return nil, err
	}
	if n != len(v) {
		return nil, trailing(len(v) - n)
	}
	if texts == 0 {
		return v, nil
	}
	out := make(Raw, 0, len(v)+texts)
	_, err = walk(v, MaxDepth, true, func(t Token, b []byte) error {
		if t.Kind != Text {
			out = append(out, b...)
			return nil
		}
		if !utf8.Valid(b[t.Head:]) {
			return fmt.Errorf("%w: a str that is not UTF-8", ErrMalformed)
		}
		out = AppendBin(out, b[t.Head:])
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
