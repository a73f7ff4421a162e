package gateway

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNewRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		opt  Option
		want string
	}{
		"nil":                      {nil, "nil option"},
		"no dialer":                {WithDialer(nil), "no dialer"},
		"no logger":                {WithLogger(nil), "no logger"},
		"no gater":                 {WithConnectionGater(nil), "no connection gater"},
		"a range that is none":     {WithAllowedEndpoints(netip.Prefix{}), "no range"},
		"nothing verified":         {limit(func(l *Limits) { l.MaxVerify = 0 }), "MaxVerify is 0"},
		"nothing of one source":    {limit(func(l *Limits) { l.MaxVerifyPerSource = 0 }), "MaxVerifyPerSource is 0"},
		"no idleness":              {limit(func(l *Limits) { l.Idle = 0 }), "Idle is 0s"},
		"memory for no connection": {limit(func(l *Limits) { l.Conns.Memory = 1 }), "memory of 1 bytes"},
		"no limits at all":         {WithLimits(Limits{}), "MaxVerify is 0"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(newHandlers(t), test.opt)
			require.ErrorContains(t, err, test.want)
		})
	}
	_, err := New(nil)
	require.ErrorContains(t, err, "no handlers")
}
