package values_test

import (
	"bytes"
	"testing"

	"github.com/macula-mesh/macula-node/compat/wire/values"
)

func BenchmarkParse(b *testing.B) {
	v := fields(
		"node_id", bin(string(bytes.Repeat([]byte{0xa7}, 32))), "endpoint", bin("https://127.0.0.1:9443"),
		"ttl", num(300), "metadata", fields("version", bin("1.0")))
	b.ReportAllocs()
	b.SetBytes(int64(len(v)))
	for b.Loop() {
		if _, err := values.Parse(v); err != nil {
			b.Fatal(err)
		}
	}
}
