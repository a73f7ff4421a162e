package gateway

import (
	"math"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"
)

func TestNewRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		opt  Option
		want string
	}{
		"nil":                         {nil, "nil option"},
		"no dialer":                   {WithDialer(nil), "no dialer"},
		"no logger":                   {WithLogger(nil), "no logger"},
		"a range that is none":        {WithAllowedEndpoints(netip.Prefix{}), "no range"},
		"no connections":              {limit(func(l *Limits) { l.MaxConns = 0 }), "MaxConns is 0"},
		"none of one source":          {limit(func(l *Limits) { l.MaxConnsPerSource = -1 }), "MaxConnsPerSource is -1"},
		"no memory":                   {limit(func(l *Limits) { l.MaxMemory = 0 }), "MaxMemory is 0"},
		"no memory of one source":     {limit(func(l *Limits) { l.MaxMemoryPerSource = 0 }), "MaxMemoryPerSource is 0"},
		"nothing verified":            {limit(func(l *Limits) { l.MaxVerify = 0 }), "MaxVerify is 0"},
		"nothing of one source":       {limit(func(l *Limits) { l.MaxVerifyPerSource = 0 }), "MaxVerifyPerSource is 0"},
		"no frames":                   {limit(func(l *Limits) { l.PeerRate = 0 }), "PeerRate is 0"},
		"frames that are no number":   {limit(func(l *Limits) { l.PeerRate = rate.Limit(math.NaN()) }), "PeerRate is NaN"},
		"no frames at once":           {limit(func(l *Limits) { l.PeerBurst = 0 }), "PeerBurst is 0"},
		"no idleness":                 {limit(func(l *Limits) { l.Idle = 0 }), "Idle is 0s"},
		"every source proved or none": {limit(func(l *Limits) { l.ProveAbove = 0 }), "ProveAbove is 0"},
		"no limits at all":            {WithLimits(Limits{}), "MaxConns is 0"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(newHandlers(t), test.opt)
			require.ErrorContains(t, err, test.want)
		})
	}
	_, err := New(nil)
	require.ErrorContains(t, err, "no handlers")
}
