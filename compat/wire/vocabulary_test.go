package wire

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every question is looked at for its key, so that allocates nothing, be the key long.
func TestIsGatewayKey(t *testing.T) {
	long := bytes.Repeat([]byte("k"), 255)
	for name, test := range map[string]struct {
		key  []byte
		want bool
	}{
		"a gateway's":     {append([]byte(GatewayPrefix), long[:40]...), true},
		"the prefix":      {[]byte(GatewayPrefix), true},
		"less than that":  {[]byte(GatewayPrefix)[:len(GatewayPrefix)-1], false},
		"in the middle":   {append([]byte("x"), GatewayPrefix...), false},
		"another's, long": {long, false},
		"none":            {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, test.want, IsGatewayKey(test.key))
			require.Zero(t, testing.AllocsPerRun(100, func() { IsGatewayKey(test.key) }))
		})
	}
}
