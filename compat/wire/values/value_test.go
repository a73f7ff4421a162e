package values_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/values"
)

// sized returns a map that is n bytes long.
func sized(n int) wire.Raw {
	head := raw(0x81, 0xc4, 1, 'v', 0xc6, 0, byte((n-9)>>16), byte((n-9)>>8), byte(n-9))
	return join(head, make([]byte, n-9))
}

func TestParse(t *testing.T) {
	const day = 86_400 * time.Second
	x255, x256 := strings.Repeat("x", 255), strings.Repeat("x", 256)
	uintMax := raw(0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
	tests := map[string]struct {
		in   wire.Raw
		node string        // "-" for none
		ttl  time.Duration // 0: refused
	}{
		"empty map":               {fields(), "-", day},
		"of an Erlang node":       {fields("ttl", num(300), "node_id", bin("abc"), "endpoint", bin("https://h:1")), "abc", 300 * time.Second},
		"str for all":             {asMap(str("node_id"), str("abc"), str("ttl"), num(5), str("endpoint"), str("e")), "abc", 5 * time.Second},
		"nothing":                 {nil, "", 0},
		"exactly 64 KiB":          {sized(values.MaxSize), "-", day},
		"64 KiB and 1 byte":       {sized(values.MaxSize + 1), "", 0},
		"text":                    {bin("x"), "", 0},
		"list":                    {list(fields()), "", 0},
		"nil":                     {nilValue, "", 0},
		"int":                     {num(1), "", 0},
		"damaged":                 {raw(0x81, 0xa1), "", 0},
		"trailing byte":           {join(fields(), raw(0xc0)), "", 0},
		"ext":                     {fields("a", list(anExt)), "", 0},
		"ext itself":              {anExt, "", 0},
		"bad UTF-8":               {fields("a", list(badText)), "", 0},
		"bad UTF-8 in a key":      {asMap(badText, num(1)), "", 0},
		"bad UTF-8 in a bin":      {fields("a", raw(0xc4, 1, 0xff)), "-", day},
		"deepest":                 {nest(values.MaxDepth), "-", day},
		"too deep":                {nest(values.MaxDepth + 1), "", 0},
		"int keys":                {asMap(num(1), num(2)), "-", day},
		"node_id empty":           {fields("node_id", bin("")), "", day},
		"node_id a0":              {fields("node_id", str("")), "", day},
		"node_id int":             {fields("node_id", num(1)), "", 0},
		"node_id nil":             {fields("node_id", nilValue), "", 0},
		"node_id list":            {fields("node_id", list()), "", 0},
		"node_id 255 bytes":       {fields("node_id", bin(x255)), x255, day},
		"node_id 256 bytes":       {fields("node_id", bin(x256)), "", 0},
		"endpoint map":            {fields("endpoint", fields()), "", 0},
		"endpoint nil":            {fields("endpoint", nilValue), "", 0},
		"endpoint 255 bytes":      {fields("endpoint", str(x255)), "-", day},
		"endpoint 256 bytes":      {fields("endpoint", bin(x256)), "", 0},
		"ttl 1":                   {fields("ttl", num(1)), "-", time.Second},
		"ttl 0":                   {fields("ttl", num(0)), "", 0},
		"ttl -1":                  {fields("ttl", num(-1)), "", 0},
		"ttl int64 min":           {fields("ttl", num(math.MinInt64)), "", 0},
		"ttl a whole float":       {fields("ttl", float(300)), "-", 300 * time.Second},
		"ttl a whole float32":     {fields("ttl", raw(0xca, 0x43, 0x96, 0, 0)), "-", 300 * time.Second},
		"ttl a fraction":          {fields("ttl", float(300.5)), "", 0},
		"ttl a float of 0":        {fields("ttl", float(0)), "", 0},
		"ttl a float beyond":      {fields("ttl", float(1<<63)), "", 0},
		"ttl a large float":       {fields("ttl", float(1<<62)), "-", day},
		"ttl NaN":                 {fields("ttl", float(math.NaN())), "", 0},
		"ttl nil":                 {fields("ttl", nilValue), "", 0},
		"ttl text":                {fields("ttl", bin("300")), "", 0},
		"ttl bool":                {fields("ttl", aBool), "", 0},
		"ttl 86,399":              {fields("ttl", num(86_399)), "-", 86_399 * time.Second},
		"ttl 86,400":              {fields("ttl", num(86_400)), "-", day},
		"ttl 86,401":              {fields("ttl", num(86_401)), "-", day},
		"ttl beyond a Duration":   {fields("ttl", num(math.MaxInt64/int64(time.Second)+1)), "-", day},
		"ttl int64 max":           {fields("ttl", num(math.MaxInt64)), "-", day},
		"ttl uint64 max":          {fields("ttl", uintMax), "-", day},
		"no ttl":                  {fields("a", num(1)), "-", day},
		"the last ttl counts":     {fields("ttl", num(0), "ttl", num(7)), "-", 7 * time.Second},
		"the last ttl is bad":     {fields("ttl", num(7), "ttl", num(0)), "", 0},
		"the last node_id counts": {fields("node_id", num(1), "node_id", bin("n")), "n", day},
		"the last node_id is bad": {fields("node_id", bin("n"), "node_id", num(1)), "", 0},
		"the last endpoint":       {fields("endpoint", num(1), "endpoint", bin("n")), "-", day},
		"ttl elsewhere":           {fields("a", fields("ttl", num(0), "node_id", num(1))), "-", day},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			v, err := values.Parse(test.in)
			if test.ttl == 0 {
				require.ErrorIs(t, err, values.ErrBad)
				assert.Zero(t, v)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.in, v.Raw)
			assert.Equal(t, test.ttl, v.TTL)
			if test.node == "-" {
				assert.Nil(t, v.NodeID)
			} else {
				require.NotNil(t, v.NodeID)
				assert.Equal(t, test.node, string(v.NodeID))
			}
		})
	}
}
