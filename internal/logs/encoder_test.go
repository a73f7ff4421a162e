package logs

import (
	"encoding/json"
	"errors"
	"log"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	logging "github.com/ipfs/go-log/v2"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Whatever a peer says, a line of the log is one line, and steers no terminal.
func TestEncodersEscape(t *testing.T) {
	hostile := map[string]string{
		"escape sequence":         "\x1b[31mred",
		"C1 control":              "\u009b31mred",
		"delete":                  "a\x7fb",
		"another direction":       "abc\u202egnp.exe",
		"isolate":                 "a\u2066b\u2069c",
		"a mark of direction":     "a\u200fb",
		"end of the line":         "a\nb\rc\u2028d\u0085e",
		"not UTF-8":               "a\xff\x9bb",
		"beyond the first 65,536": "a\U000e0041b", // a tag
		"no-break space":          "a\u00a0b",
	}
	for name, text := range hostile {
		t.Run(name, func(t *testing.T) {
			for format, enc := range map[string]zapcore.Encoder{"text": NewTextEncoder(zap.NewProductionEncoderConfig()), "json": NewJSONEncoder(zap.NewProductionEncoderConfig())} {
				enc = enc.Clone()
				enc.AddString("name", text) // as With does
				line, err := enc.EncodeEntry(zapcore.Entry{Time: time.Now(), Message: text, LoggerName: "x"}, []zapcore.Field{
					zap.String("text", text), zap.String(text, "key"), zap.Error(errors.New(text)), zap.Any("any", []string{text}),
				})
				require.NoError(t, err)
				shown := strings.ReplaceAll(strings.TrimSuffix(line.String(), "\n"), "\t", "")
				for _, r := range shown {
					require.True(t, strconv.IsPrint(r), "%s: %q in %q", format, r, shown)
				}
				if format == "json" {
					var fields map[string]any
					require.NoError(t, json.Unmarshal(line.Bytes(), &fields))
					require.Equal(t, strings.ToValidUTF8(strings.ReplaceAll(text, "\xff\x9b", "\ufffd\ufffd"), ""), fields["text"], "it is still the same text")
				}
			}
		})
	}
}

// What can be printed stays as it is, in any script.
func TestEncodersKeepTexts(t *testing.T) {
	for _, text := range []string{`a "quoted" word`, "Grüße", "日本語", "🙂"} {
		line, err := NewTextEncoder(zap.NewProductionEncoderConfig()).EncodeEntry(zapcore.Entry{Message: text}, []zapcore.Field{zap.String("k", "é")})
		require.NoError(t, err)
		require.Contains(t, line.String(), text)
		require.Contains(t, line.String(), `"é"`)
	}
}

// What quic-go and others say through the standard library's log has our form, at
// warn.
func TestCaptureStandard(t *testing.T) {
	before, flags, out, std := logging.GetConfig(), log.Flags(), log.Writer(), slog.Default()
	t.Cleanup(func() {
		slog.SetDefault(std)
		logging.SetupLogging(before)
		log.SetFlags(flags)
		log.SetOutput(out)
	})
	var text locked
	require.NoError(t, logging.SetLogLevel(Standard, "warn"))
	logging.SetPrimaryCore(zapcore.NewCore(NewTextEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(&text), zapcore.DebugLevel))
	CaptureStandard()
	log.Printf("failed to increase the buffer of %s", "\u009bx")
	line := text.take()
	require.Contains(t, line, "warn\t"+Standard+"\t")
	require.Contains(t, line, `"failed to increase the buffer of \u009bx"`)

	require.NoError(t, logging.SetLogLevel(Standard, "error"))
	log.Print("again")
	require.Empty(t, text.take())
}
