package interop

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// exchange is what was once sent to a real Erlang node, and what came back.
type exchange struct {
	Name     string   `json:"name"`
	Outcome  string   `json:"outcome"`
	RecvHex  string   `json:"recv_hex"`
	SentHex  []string `json:"sent_frames_hex"`
	Crashed  bool     `json:"reference_crashed"`
	Hung     bool     `json:"reference_hung"`
	SameLive string   `json:"later_ping_same_stream"`
}

// lost reports whether the reference lost its state by the exchange.
func (e exchange) lost() bool { return e.Crashed || e.Hung }

func loadExchanges(tb testing.TB) []exchange {
	tb.Helper()
	var recorded struct {
		Exchanges []exchange `json:"exchanges"`
	}
	readJSON(tb, "../compat/wire/testdata/macula-0.20.3.json", &recorded)
	return recorded.Exchanges
}

func readJSON(tb testing.TB, path string, into any) {
	tb.Helper()
	text, err := os.ReadFile(path)
	require.NoError(tb, err)
	require.NoError(tb, json.Unmarshal(text, into))
}

func unhex(tb testing.TB, digits string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(digits)
	require.NoError(tb, err)
	return b
}

// abbreviated is how the vectors give a long frame: its beginning and its size.
var abbreviated = regexp.MustCompile(`^([0-9a-f]+)\.\.\. \((\d+) bytes\)$`)

// sent returns the writes of an exchange. Of an abbreviated frame the missing
// part is a bin of zeros; what follows that in a PUBLISH is as in the exchange
// "publish [bin]".
func (e exchange) sent(tb testing.TB, all []exchange) [][]byte {
	tb.Helper()
	var writes [][]byte
	for _, digits := range e.SentHex {
		short := abbreviated.FindStringSubmatch(digits)
		if short == nil {
			writes = append(writes, unhex(tb, digits))
			continue
		}
		size, err := strconv.Atoi(short[2])
		require.NoError(tb, err)
		b := unhex(tb, short[1])
		var tail []byte
		if b[1] == tPublish {
			whole := publishFrame(tb, all)
			tail = whole[strings.Index(string(whole), "\xc4\x03qos"):]
			b = append(b, 0x40) // the last byte of the payload's length, 200,000
		}
		b = append(b, make([]byte, size-len(b)-len(tail))...)
		b = append(b, tail...)
		require.Len(tb, decodeFrames(tb, b), 1, "rebuilt from its beginning")
		writes = append(writes, b)
	}
	return writes
}

func publishFrame(tb testing.TB, all []exchange) []byte {
	tb.Helper()
	for _, e := range all {
		if e.Name == "publish [bin]" {
			return unhex(tb, e.SentHex[0])
		}
	}
	require.FailNow(tb, "no publish among the exchanges")
	return nil
}
