package uplink

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/dht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

func TestNewRefuses(t *testing.T) {
	r, err := routing.NewServer(routing.IDFromBytes([]byte("self")))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	mux, err := server.NewMux()
	require.NoError(t, err)
	handlers, err := dht.New(mux, r)
	require.NoError(t, err)
	d := newDialer(t)
	with := func(change func(*Intervals)) Option {
		i := DefaultIntervals()
		change(&i)
		return WithIntervals(i)
	}
	for name, test := range map[string]struct {
		opt  Option
		want string
	}{
		"nil":                         {nil, "nil option"},
		"no logger":                   {WithLogger(nil), "no logger"},
		"nothing tells":               {WithListable(nil), "nothing to tell"},
		"nobody is told":              {WithMet(nil), "nobody to tell"},
		"no id":                       {WithSelf(""), "want 64 hexadecimal digits"},
		"an id of another form":       {WithSelf(strings.Repeat("x", 64)), "want 64 hexadecimal digits"},
		"no PING":                     {with(func(i *Intervals) { i.Ping = 0 }), "Ping is 0s"},
		"no neighbours":               {with(func(i *Intervals) { i.Neighbours = 0 }), "Neighbours is 0s"},
		"no second look":              {with(func(i *Intervals) { i.LookAgain = 0 }), "LookAgain is 0s"},
		"no pause":                    {with(func(i *Intervals) { i.FirstRetry = 0 }), "FirstRetry is 0s"},
		"a last one before the first": {with(func(i *Intervals) { i.LastRetry = i.FirstRetry - 1 }), "LastRetry is"},
		"no intervals at all":         {WithIntervals(Intervals{}), "Ping is 0s"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(d, handlers, nil, test.opt)
			require.ErrorContains(t, err, test.want)
		})
	}
	_, err = New(nil, handlers, nil)
	require.ErrorContains(t, err, "no dialer")
	_, err = New(d, nil, nil)
	require.ErrorContains(t, err, "no handlers")
}
