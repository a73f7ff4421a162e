package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/node/api/client"
	"github.com/macula-mesh/macula-node/node/api/schema"
	"github.com/macula-mesh/macula-node/node/backup"
)

func TestStatusAndBackup(t *testing.T) {
	n := &fakeNode{backup: func(_ context.Context, dir string) (schema.Backup, error) {
		return schema.Backup{Dir: dir, Files: 2, Bytes: 10, Records: true}, nil
	}}
	s := open(t, n)
	info, err := os.Stat(s.Path())
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	c := askingAt(s)
	status, err := c.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, n.Status(), status)
	made, err := c.Backup(t.Context(), "/somewhere")
	require.NoError(t, err)
	require.Equal(t, schema.Backup{Dir: "/somewhere", Files: 2, Bytes: 10, Records: true}, made)
	_, err = c.Backup(t.Context(), "somewhere")
	require.ErrorContains(t, err, "not an absolute path")

	require.NoError(t, s.Close())
	require.NoFileExists(t, s.Path())
	_, err = c.Status(t.Context())
	require.ErrorIs(t, err, client.ErrNoAnswer)
	require.ErrorContains(t, err, s.Path())
}

func TestHealth(t *testing.T) {
	n := &fakeNode{}
	c := askingAt(open(t, n))
	h, err := client.Get[schema.Health](t.Context(), c, "/v1/health")
	require.NoError(t, err)
	require.True(t, h.Well)
	sick := askingAt(open(t, &fakeNode{problem: "alone"}))
	_, err = client.Get[schema.Health](t.Context(), sick, "/v1/health")
	require.ErrorContains(t, err, "503")
	_, err = client.Get[schema.Health](t.Context(), sick, "/v1/ready")
	require.NoError(t, err)
}

// What keeps a backup from being made is told as what it is.
func TestProblemsOfBackups(t *testing.T) {
	for name, test := range map[string]struct {
		err    error
		status int
		wrong  bool
	}{
		"something there": {fmt.Errorf("%w: /a", backup.ErrExists), 409, true},
		"a bad place":     {fmt.Errorf("%w: /a", backup.ErrPlace), 422, true},
		"nothing to copy": {backup.ErrNothing, 422, true},
		"a full disk":     {&os.PathError{Op: "write", Path: "/a", Err: syscall.ENOSPC}, 507, false},
		"anything":        {errors.New("it broke"), 500, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, &fakeNode{backup: func(context.Context, string) (schema.Backup, error) { return schema.Backup{}, test.err }})
			_, err := askingAt(s).Backup(t.Context(), "/a")
			p, ok := errors.AsType[*client.Problem](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, test.status, p.Status)
			require.Equal(t, test.wrong, p.Wrong())
			require.EqualError(t, err, test.err.Error())
		})
	}
}

// One backup at a time; it ends with who asked for it, and with the server, which waits
// until it is cleared away.
func TestBackupEndsWithItsCaller(t *testing.T) {
	begun, ended, goOn := make(chan struct{}), make(chan error, 1), make(chan struct{})
	s := open(t, &fakeNode{backup: func(ctx context.Context, _ string) (schema.Backup, error) {
		begun <- struct{}{}
		<-ctx.Done()
		ended <- ctx.Err()
		<-goOn
		return schema.Backup{}, ctx.Err()
	}})
	c := askingAt(s)
	var asked sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	asked.Go(func() { _, _ = c.Backup(ctx, "/a") })
	<-begun
	_, err := c.Backup(t.Context(), "/b")
	require.ErrorContains(t, err, "another backup is being made")
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	goOn <- struct{}{}
	asked.Wait()

	require.Eventually(t, func() bool { return len(s.backups) == 0 }, patience, time.Millisecond)
	asked.Go(func() { _, _ = c.Backup(t.Context(), "/a") })
	<-begun
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	<-ended
	select {
	case err := <-closed:
		require.Fail(t, "did not wait", "%v", err)
	case <-time.After(100 * time.Millisecond):
	}
	close(goOn)
	require.NoError(t, <-closed)
	asked.Wait()
}

func TestCloseWithIdleConnections(t *testing.T) {
	s := open(t, &fakeNode{})
	for range 2 * maxConns {
		conn, err := net.Dial("unix", s.Path())
		require.NoError(t, err)
		defer conn.Close()
		_, err = conn.Write([]byte("POST /v1/backup HTTP/1.1\r\nHost: n\r\n"))
		require.NoError(t, err)
	}
	start := time.Now()
	require.NoError(t, s.Close())
	require.Less(t, time.Since(start), closeTime+time.Second)
}

func TestLookupAndEvents(t *testing.T) {
	c := askingAt(open(t, &fakeNode{}))
	var trace []string
	found, err := c.Lookup(t.Context(), []byte("k"),
		func(a schema.Asked) { trace = append(trace, "asked "+a.PeerID) },
		func(h schema.Hop) { trace = append(trace, fmt.Sprintf("%s said %d", h.PeerID, h.Nodes)) })
	require.NoError(t, err)
	require.Equal(t, []string{"asked p", "p said 2"}, trace)
	require.Equal(t, "6b", found.Key)
	require.Equal(t, schema.LookupNotFound, found.Result)
	for e, err := range c.Events(t.Context(), nil) {
		require.NoError(t, err)
		require.Equal(t, schema.EventMode, e.Kind)
		break
	}
}

func value(t *testing.T, text string) schema.Value {
	t.Helper()
	raw, err := wire.FromJSON([]byte(text))
	require.NoError(t, err)
	return schema.Value{Raw: raw}
}

func TestCall(t *testing.T) {
	c := askingAt(open(t, &fakeNode{}))
	for _, text := range []string{`{"x":1}`, `9007199254740993`, `2.0`, `{"$bin":"ff"}`, `null`, `"ü\u200d"`} {
		answer, err := c.Call(t.Context(), schema.CallRequest{Procedure: "echo", Args: value(t, text)})
		require.NoError(t, err)
		require.Equal(t, value(t, text), answer.Result, text)
	}
	answer, err := c.Call(t.Context(), schema.CallRequest{Procedure: "fails"})
	require.NoError(t, err)
	require.Equal(t, &schema.CallError{Code: "handler_error", Message: "no"}, answer.Error)
	answer, err = c.Call(t.Context(), schema.CallRequest{Procedure: "waits", Timeout: 0.05})
	require.NoError(t, err)
	require.Equal(t, "timeout", answer.Error.Code)
	for name, asked := range map[string]schema.CallRequest{
		"a name that can not be": {},
		"a time that can not be": {Procedure: "echo", Timeout: 61},
		"a negative time":        {Procedure: "echo", Timeout: -1},
		"too much":               {Procedure: "echo", Args: value(t, `"`+strings.Repeat("x", maxBody)+`"`)},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.Call(t.Context(), asked)
			p, ok := errors.AsType[*client.Problem](err)
			require.True(t, ok, err)
			require.True(t, p.Wrong())
		})
	}
}

// A procedure is served as long as who serves it is there, and each call is answered once.
func TestServe(t *testing.T) {
	n := &fakeNode{}
	c := askingAt(open(t, n))
	ctx, cancel := context.WithCancel(t.Context())
	calls, ended := make(chan schema.ServedCall, 10), make(chan error, 1)
	go func() {
		ended <- c.Serve(ctx, schema.ServeRequest{Procedure: "p", AtOnce: 3}, func(s schema.ServedCall) { calls <- s })
	}()
	serving := (<-calls).Serving
	require.NotEmpty(t, serving)
	n.mu.Lock()
	require.Equal(t, 3, n.atOnce, "the node has others wait")
	n.mu.Unlock()
	err := c.Serve(t.Context(), schema.ServeRequest{Procedure: "q", AtOnce: -1}, func(schema.ServedCall) {})
	require.ErrorContains(t, err, "at_once")

	err = c.Serve(t.Context(), schema.ServeRequest{Procedure: "p"}, func(schema.ServedCall) {})
	require.ErrorContains(t, err, "served already")

	called := make(chan schema.CallAnswer, 1)
	call := func(timeout float64) {
		a, err := c.Call(t.Context(), schema.CallRequest{Procedure: "p", Args: value(t, `[1]`), Timeout: timeout})
		if err != nil {
			a.Error = &schema.CallError{Message: err.Error()}
		}
		called <- a
	}
	go call(10)
	came := <-calls
	require.Equal(t, value(t, `[1]`), came.Args)
	reply := schema.AnswerRequest{Serving: serving, ID: came.ID, Result: value(t, `2`)}
	require.NoError(t, c.Answer(t.Context(), reply))
	require.Equal(t, value(t, `2`), (<-called).Result)
	require.ErrorContains(t, c.Answer(t.Context(), reply), "is over")

	go call(0.05)
	came = <-calls
	require.Equal(t, schema.ServedCall{Serving: serving, ID: came.ID, Over: true}, <-calls, "nobody waits for it any more")
	reply.ID = came.ID
	require.NoError(t, c.Answer(t.Context(), reply), "which gives its place free")
	require.NotNil(t, (<-called).Error)
	require.ErrorContains(t, c.Answer(t.Context(), reply), "is over")
	reply.Serving = "nobody's"
	require.ErrorContains(t, c.Answer(t.Context(), reply), "nothing is served")

	go call(10)
	<-calls
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	require.Equal(t, wire.CodeProviderGone, (<-called).Error.Code, "who waits is told")
	require.Eventually(t, func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return len(n.served) == 0
	}, patience, time.Millisecond, "it is withdrawn")
}

// The server's end is theirs.
func TestServeEndsWithTheNode(t *testing.T) {
	s := open(t, &fakeNode{})
	began, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- askingAt(s).Serve(t.Context(), schema.ServeRequest{Procedure: "p"}, func(schema.ServedCall) { close(began) })
	}()
	<-began
	require.NoError(t, s.Close())
	require.ErrorIs(t, <-ended, client.ErrNoAnswer)
}
