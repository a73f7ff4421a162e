package logs

import (
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"go.uber.org/zap/buffer"
	"go.uber.org/zap/zapcore"
)

// NewTextEncoder returns zap's encoder of lines for people. A message that holds
// what can not be printed is quoted, be it a library's, and in the fields each such
// rune is escaped: the words of a peer neither steer the terminal nor turn the
// direction of the text.
func NewTextEncoder(cfg zapcore.EncoderConfig) zapcore.Encoder {
	return encoder{zapcore.NewConsoleEncoder(cfg), true}
}

// NewJSONEncoder returns zap's encoder of JSON, with what can not be printed
// escaped, so that a line is safe to show.
func NewJSONEncoder(cfg zapcore.EncoderConfig) zapcore.Encoder {
	return encoder{zapcore.NewJSONEncoder(cfg), false}
}

type encoder struct {
	zapcore.Encoder
	quote bool // a message is text as it is
}

var buffers = buffer.NewPool()

// Clone implements zapcore.Encoder.
func (e encoder) Clone() zapcore.Encoder { return encoder{e.Encoder.Clone(), e.quote} }

// EncodeEntry implements zapcore.Encoder.
func (e encoder) EncodeEntry(entry zapcore.Entry, fields []zapcore.Field) (*buffer.Buffer, error) {
	if e.quote && !printable(entry.Message) {
		entry.Message = strconv.Quote(entry.Message)
	}
	line, err := e.Encoder.EncodeEntry(entry, fields)
	if err != nil {
		return nil, err
	}
	defer line.Free()
	escaped := buffers.Get()
	escaped.Write(appendEscaped(nil, line.Bytes()))
	return escaped, nil
}

func printable(text string) bool {
	for i, r := range text {
		if r == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(text[i:]); size == 1 {
				return false
			}
		}
		if !strconv.IsPrint(r) {
			return false
		}
	}
	return true
}

// appendEscaped appends a line in which zap has escaped the control characters of
// ASCII that are not its own, and this the rest, as JSON does.
func appendEscaped(to, line []byte) []byte {
	const hex = "0123456789abcdef"
	unit := func(u uint16) {
		to = append(to, '\\', 'u', hex[u>>12], hex[u>>8&0xf], hex[u>>4&0xf], hex[u&0xf])
	}
	for len(line) > 0 {
		r, size := utf8.DecodeRune(line)
		switch {
		case r == utf8.RuneError && size == 1:
			unit(utf8.RuneError)
		case r < ' ' || strconv.IsPrint(r):
			to = append(to, line[:size]...)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			unit(uint16(high))
			unit(uint16(low))
		default:
			unit(uint16(r))
		}
		line = line[size:]
	}
	return to
}
