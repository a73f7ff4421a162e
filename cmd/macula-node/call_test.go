package main

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/interop/glass"
)

// serveBy runs "serve" until the test has ended.
func serveBy(t *testing.T, args ...string) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var stdout, stderr buffer
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, append([]string{"macula-node", "serve"}, args...), &stdout, &stderr) }()
	t.Cleanup(func() {
		stop()
		require.Equal(t, exitOK, <-ended, stderr.String())
	})
	waitFor(t, "serve", func() bool { return strings.Contains(stdout.String(), "serving") || len(ended) > 0 })
	require.Empty(t, ended, stderr.String())
}

// What one command serves another one calls, and so does an Erlang node.
func TestServeAndCall(t *testing.T) {
	data := t.TempDir()
	_, s := started(t, "--data-dir", data)
	at := []string{"--data-dir", data}
	serveBy(t, append(at, "echo", "--", "cat")...)
	serveBy(t, append(at, "fails", "--", "sh", "-c", "echo 'no such station' >&2; exit 3")...)
	serveBy(t, append(at, "prints", "--", "echo", "no JSON")...)
	serveBy(t, append(at, "--time-limit", "100ms", "hangs", "--", "sleep", "60")...)
	for name, test := range map[string]struct {
		args   []string
		code   int
		stdout string
		stderr string
	}{
		"a result":              {[]string{"echo", `{"x": [1, 2.0, "ü"]}`}, exitOK, `{"x":[1,2.0,"ü"]}` + "\n", ""},
		"without args":          {[]string{"echo"}, exitOK, "{}\n", ""},
		"as JSON":               {[]string{"--json", "echo", "7"}, exitOK, `{"result":7}` + "\n", ""},
		"a code and a reason":   {[]string{"fails"}, exitUnreachable, "", "handler_error: no such station"},
		"no JSON":               {[]string{"prints"}, exitUnreachable, "", "printed no JSON"},
		"a command that hangs":  {[]string{"hangs"}, exitUnreachable, "", "timeout: The command was not done within 100ms"},
		"nobody serves it":      {[]string{"nobody"}, exitNotFound, "", "not found"},
		"args that are no JSON": {[]string{"echo", "{"}, exitUsage, "", "ARGS '{'"},
		"no procedure":          {nil, exitUsage, "", "want PROCEDURE"},
		"of the gateway itself": {[]string{"com.macula.diagnostics.echo", "1"}, exitOK, `"echo":1`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := macula(t, append([]string{"call"}, append(at, test.args...)...)...)
			require.Equal(t, test.code, got.code, got.stderr)
			require.Contains(t, got.stdout, test.stdout)
			require.Contains(t, got.stderr, test.stderr)
		})
	}
	vm, err := glass.Start(glass.Realm("macula.default"))
	require.NoError(t, err)
	defer vm.Close()
	client, err := vm.Connect(t.Context(), s.Endpoints[0], nil)
	require.NoError(t, err)
	result, err := client.Call(t.Context(), "echo", []byte(`{"from":"erlang"}`))
	require.NoError(t, err)
	text, _ := result.Bytes()
	require.JSONEq(t, `{"from":"erlang"}`, string(text))
	require.Empty(t, vm.Broken())

	got := macula(t, append([]string{"serve"}, append(at, "echo", "--", "cat")...)...)
	require.Equal(t, exitUsage, got.code)
	require.Contains(t, got.stderr, "served already")
	got = macula(t, append([]string{"serve"}, append(at, "echo", "--", "no-such-command")...)...)
	require.Equal(t, exitUsage, got.code)
}

// Of more calls than a command serves at once the others wait, and one that nobody waits for
// is ended and gives its place free.
func TestServeAtOnce(t *testing.T) {
	data := t.TempDir()
	started(t, "--data-dir", data)
	serveBy(t, "--data-dir", data, "--at-once", "1", "--time-limit", "1m", "naps", "--",
		"sh", "-c", `read x; if [ "$x" = 0 ]; then sleep 60; else sleep 0.1; fi; echo "$x"`)
	got := macula(t, "call", "--data-dir", data, "--timeout", "300ms", "naps", "0")
	require.Equal(t, exitUnreachable, got.code, got.stdout)
	answers := make(chan output, 3)
	for range cap(answers) {
		go func() { answers <- macula(t, "call", "--data-dir", data, "--timeout", "8s", "naps", "1") }()
	}
	for range cap(answers) {
		got := <-answers
		require.Equal(t, exitOK, got.code, got.stderr)
		require.Equal(t, "1\n", got.stdout)
	}
}
