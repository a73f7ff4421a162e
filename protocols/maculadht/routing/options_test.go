package routing

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestServerOptions(t *testing.T) {
	for name, opt := range map[string]Option{
		"no records": WithRecords(nil),
		"no bucket":  WithBucketSize(0),
		"no tracer":  WithMetricsTracer(nil),
	} {
		t.Run(name, func(t *testing.T) {
			s, err := NewServer(ID{}, opt)
			require.Error(t, err)
			require.Nil(t, s)
		})
	}
}
