package main

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPublishAndSubscribe(t *testing.T) {
	data := t.TempDir()
	started(t, "--data-dir", data)
	for name, args := range map[string][]string{
		"no pattern":     {"subscribe", "--data-dir", data},
		"an empty one":   {"subscribe", "--data-dir", data, ""},
		"no topic":       {"publish", "--data-dir", data},
		"an empty topic": {"publish", "--data-dir", data, "", "p"},
		"a long topic":   {"publish", "--data-dir", data, strings.Repeat("a", 256), "p"},
		"three":          {"publish", "--data-dir", data, "a", "b", "c"},
	} {
		got := macula(t, args...)
		require.Equal(t, exitUsage, got.code, "%s: %s", name, got.stderr)
	}
	got := macula(t, "publish", "--data-dir", t.TempDir(), "t", "p")
	require.Equal(t, exitUnreachable, got.code, got.stderr)

	var stdout, stderr buffer
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"macula-node", "subscribe", "--json", "--data-dir", data, "a.*"}, &stdout, &stderr)
	}()
	waitFor(t, "the subscription", func() bool { return stderr.String() == "macula-node: subscribed\n" })
	got = macula(t, "publish", "--data-dir", data, "b", "nobody")
	require.Equal(t, exitOK, got.code, got.stderr)
	got = macula(t, "publish", "--json", "--data-dir", data, "a.b", `{"n":1}`)
	require.Equal(t, exitOK, got.code, got.stderr)
	require.JSONEq(t, `{"topic":"a.b","bytes":7}`, got.stdout)
	waitFor(t, "the message", func() bool { return strings.HasSuffix(stdout.String(), "\n") })
	require.JSONEq(t, `{"topic":"a.b","value":"{\"n\":1}"}`, stdout.String())
	cancel()
	require.Equal(t, exitOK, <-ended, stderr.String())
}
