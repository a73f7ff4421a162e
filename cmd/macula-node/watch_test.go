package main

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWatch(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	started(t, "--data-dir", data)
	for name, args := range map[string][]string{
		"no key":   {"watch", "--data-dir", data},
		"two keys": {"watch", "--data-dir", data, "a", "b"},
	} {
		got := macula(t, args...)
		require.Equal(t, exitUsage, got.code, "%s: %s", name, got.stderr)
	}
	var stdout, stderr buffer
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"macula-node", "watch", "--data-dir", data, "--service", "s"}, &stdout, &stderr)
	}()
	waitFor(t, "the watch", func() bool { return stderr.String() == "macula-node: watching\n" })
	got := macula(t, "put", "--data-dir", data, "--service", "s", `{"word":"here","ttl":2}`)
	require.Equal(t, exitOK, got.code, got.stderr)
	waitFor(t, "what comes", func() bool {
		return strings.HasPrefix(stdout.String(), "came\t{") && strings.Contains(stdout.String(), "here")
	})
	waitFor(t, "what goes", func() bool { return strings.Contains(stdout.String(), "\nexpired\t{") })
	cancel()
	require.Equal(t, exitOK, <-ended, stderr.String())
}
