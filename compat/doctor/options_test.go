package doctor_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/doctor"
)

func TestExamineRefuses(t *testing.T) {
	d, err := dialer.New()
	require.NoError(t, err)
	defer d.Close()
	for name, test := range map[string]struct {
		opt  doctor.Option
		want string
	}{
		"nil":                 {nil, "nil option"},
		"no realm":            {doctor.WithRealm(""), "realm of 0 bytes"},
		"a long realm":        {doctor.WithRealm(strings.Repeat("r", 256)), "realm of 256 bytes"},
		"a key without bytes": {doctor.WithKeys(doctor.Key{Name: "mine"}), `key "mine" of 0 bytes`},
		"no PING":             {doctor.WithPings(0), "0 PINGs"},
		"a time before now":   {doctor.WithRegistration(-1), "registration within -1ns"},
		"nobody who is told":  {doctor.WithObserver(nil), "no observer"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := doctor.Examine(t.Context(), d, "https://127.0.0.1:1", test.opt)
			require.ErrorContains(t, err, test.want)
		})
	}
}
