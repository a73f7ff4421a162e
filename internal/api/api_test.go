package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/macula-mesh/macula-node/node/backup"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/pubsub"
	"github.com/macula-mesh/macula-node/protocols/watch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second

// fakeNode is well, and backs up as it is told.
type fakeNode struct {
	backup func(ctx context.Context, dir string) (backup.Made, error)

	mu     sync.Mutex
	served map[string]func(context.Context, json.RawMessage) (json.RawMessage, error)
}

func (n *fakeNode) Status() Status {
	return Status{PID: 7, Realm: "r", Addrs: []string{}, Records: Records{Records: 3}, Store: Store{Kind: "memory"}, Problems: []string{}}
}

func (n *fakeNode) Publish(_ context.Context, topic string, _ []byte) error {
	if topic == "" {
		return fmt.Errorf("%w: no topic", proto.ErrInvalidRequest)
	}
	return nil
}

func (n *fakeNode) Subscribe(context.Context, string) (*pubsub.Subscription, error) {
	return nil, pubsub.ErrTooMany
}

func (n *fakeNode) Backup(ctx context.Context, dir string) (backup.Made, error) {
	return n.backup(ctx, dir)
}

// Call answers what it is given, or as the procedure's name says.
func (n *fakeNode) Call(ctx context.Context, procedure string, args json.RawMessage) (json.RawMessage, error) {
	switch procedure {
	case "fails":
		return nil, &CallError{Code: "handler_error", Message: "no"}
	case "waits":
		<-ctx.Done()
		return nil, &CallError{Code: "timeout"}
	case "":
		return nil, errors.New("a name of 0 bytes")
	}
	n.mu.Lock()
	f := n.served[procedure]
	n.mu.Unlock()
	if f != nil {
		return f(ctx, args)
	}
	return args, nil
}

func (n *fakeNode) Serve(_ context.Context, procedure string, _ int, f func(context.Context, json.RawMessage) (json.RawMessage, error)) (func() error, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.served[procedure] != nil {
		return nil, errors.New("served already")
	}
	if n.served == nil {
		n.served = make(map[string]func(context.Context, json.RawMessage) (json.RawMessage, error))
	}
	n.served[procedure] = f
	return func() error {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.served, procedure)
		return nil
	}, nil
}

func (n *fakeNode) Watch(context.Context, []byte) iter.Seq2[watch.Event, error] {
	return func(func(watch.Event, error) bool) {}
}

func open(t *testing.T, dir string, n Node) *Server {
	t.Helper()
	s, err := Open(dir, n, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// shortTemp is a temporary directory whose path a socket can have.
func shortTemp(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "api")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestStatusAndBackup(t *testing.T) {
	dir := shortTemp(t)
	n := &fakeNode{backup: func(_ context.Context, dir string) (backup.Made, error) {
		return backup.Made{Dir: dir, Files: 2, Bytes: 10, Records: true}, nil
	}}
	s := open(t, dir, n)
	require.Equal(t, filepath.Join(dir, socketName), s.Path())
	info, err := os.Stat(s.Path())
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)

	c := NewClient(s.Path())
	status, err := c.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, n.Status(), status)
	made, err := c.Backup(t.Context(), "/somewhere")
	require.NoError(t, err)
	require.Equal(t, Backup{Dir: "/somewhere", Files: 2, Bytes: 10, Records: true}, made)

	require.NoError(t, s.Close())
	require.NoFileExists(t, s.Path())
	_, err = c.Status(t.Context())
	require.ErrorIs(t, err, ErrNoAnswer)
	require.ErrorContains(t, err, s.Path())
}

// send makes any request and returns what came back.
func send(t *testing.T, s *Server, method, path, kind string, body io.Reader) (*http.Response, Problem) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://node"+path, body)
	require.NoError(t, err)
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	resp, err := NewClient(s.Path()).http.Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	var p Problem
	if method != http.MethodHead {
		require.NoError(t, json.Unmarshal(text, &p), "%s", text)
	}
	return resp, p
}

func TestProblems(t *testing.T) {
	const kind = "application/json"
	s := open(t, shortTemp(t), &fakeNode{backup: func(context.Context, string) (backup.Made, error) {
		return backup.Made{}, errors.New("not to be called")
	}})
	for name, test := range map[string]struct {
		method, path, kind string
		body               io.Reader
		status             int
		want               string
	}{
		"no such path":       {"GET", "/v1/nothing", "", nil, 404, `"/v1/nothing"`},
		"the wrong method":   {"DELETE", "/v1/status", "", nil, 405, "takes GET, not DELETE"},
		"a read of a backup": {"GET", "/v1/backup", "", nil, 405, "takes POST, not GET"},
		"no content type":    {"POST", "/v1/backup", "", strings.NewReader(`{"dir":"/a"}`), 415, "send application/json"},
		"a form":             {"POST", "/v1/backup", "text/plain", strings.NewReader(`{"dir":"/a"}`), 415, `"text/plain"`},
		"no JSON":            {"POST", "/v1/backup", kind, strings.NewReader(`{`), 400, "unexpected EOF"},
		"nothing":            {"POST", "/v1/backup", kind, nil, 400, "EOF"},
		"two values":         {"POST", "/v1/backup", kind, strings.NewReader(`{"dir":"/a"}{}`), 400, "something follows"},
		"another field":      {"POST", "/v1/backup", kind, strings.NewReader(`{"dri":"/a"}`), 400, `"dri"`},
		"a relative path":    {"POST", "/v1/backup", kind, strings.NewReader(`{"dir":"a"}`), 400, `dir "a" is not an absolute path`},
		"no key":             {"GET", "/v1/watch?key=x", "", nil, 400, "in hexadecimal"},
		"no topic":           {"POST", "/v1/publish", kind, strings.NewReader(`{"topic":""}`), 400, "no topic"},
		"too many readers":   {"GET", "/v1/subscribe?pattern=a", "", nil, 429, "too many subscriptions"},
		"a long body":        {"POST", "/v1/backup", kind, strings.NewReader(`{"dir":"` + strings.Repeat("/", maxBody) + `"}`), 413, "more than 2097152 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			resp, p := send(t, s, test.method, test.path, test.kind, test.body)
			require.Equal(t, test.status, resp.StatusCode)
			require.Equal(t, "application/problem+json", resp.Header.Get("Content-Type"))
			require.Equal(t, "about:blank", p.Type)
			require.Equal(t, test.status, p.Status)
			require.Equal(t, http.StatusText(test.status), p.Title)
			require.Contains(t, p.Detail, test.want)
		})
	}
	resp, _ := send(t, s, "HEAD", "/v1/status", "", nil)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	resp, _ = send(t, s, "POST", "/v1/status", kind, strings.NewReader("{}"))
	require.Equal(t, "GET", resp.Header.Get("Allow"))
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
			s := open(t, shortTemp(t), &fakeNode{backup: func(context.Context, string) (backup.Made, error) { return backup.Made{}, test.err }})
			_, err := NewClient(s.Path()).Backup(t.Context(), "/a")
			p, ok := errors.AsType[*Problem](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, test.status, p.Status)
			require.Equal(t, test.wrong, p.Wrong())
			require.EqualError(t, err, test.err.Error())
		})
	}
}

// One backup at a time; it ends with who asked for it, and with the server.
func TestBackupEndsWithItsCaller(t *testing.T) {
	begun, ended := make(chan struct{}), make(chan error)
	s := open(t, shortTemp(t), &fakeNode{backup: func(ctx context.Context, _ string) (backup.Made, error) {
		begun <- struct{}{}
		<-ctx.Done()
		ended <- ctx.Err()
		return backup.Made{}, ctx.Err()
	}})
	c := NewClient(s.Path())
	t.Run("caller", func(t *testing.T) { backUpUntil(t, c, begun, ended, func(cancel func()) { cancel() }) })
	t.Run("server", func(t *testing.T) {
		backUpUntil(t, c, begun, ended, func(func()) { go s.Close() })
	})
}

// Close waits until a backup that it cuts short is cleared away, but not for ever.
func TestCloseWaitsForABackup(t *testing.T) {
	begun, goOn := make(chan struct{}), make(chan struct{})
	s := open(t, shortTemp(t), &fakeNode{backup: func(ctx context.Context, _ string) (backup.Made, error) {
		close(begun)
		<-ctx.Done()
		<-goOn
		return backup.Made{}, ctx.Err()
	}})
	var asked sync.WaitGroup
	asked.Go(func() { _, _ = NewClient(s.Path()).Backup(t.Context(), "/a") })
	<-begun
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		require.Fail(t, "did not wait", "%v", err)
	case <-time.After(closeTime + 200*time.Millisecond):
	}
	close(goOn)
	require.NoError(t, <-closed)
	asked.Wait()
}

func backUpUntil(t *testing.T, c *Client, begun chan struct{}, ended chan error, end func(cancel func())) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var asked sync.WaitGroup
	asked.Go(func() { _, _ = c.Backup(ctx, "/a") })
	<-begun
	_, err := c.Backup(t.Context(), "/b")
	require.ErrorContains(t, err, "another backup is being made")
	end(cancel)
	select {
	case err := <-ended:
		require.ErrorIs(t, err, context.Canceled)
	case <-time.After(patience):
		require.Fail(t, "goes on")
	}
	asked.Wait()
}

// Who sends half a request, or does not read, is not waited for at the end.
func TestCloseWithIdleConnections(t *testing.T) {
	s := open(t, shortTemp(t), &fakeNode{})
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

func TestSocketOfOneThatWasKilled(t *testing.T) {
	dir := shortTemp(t)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, socketName), Net: "unix"})
	require.NoError(t, err)
	_, err = Open(dir, &fakeNode{}, slog.New(slog.DiscardHandler))
	require.ErrorIs(t, err, ErrInUse, "it answers")
	l.SetUnlinkOnClose(false)
	require.NoError(t, l.Close())

	s := open(t, dir, &fakeNode{})
	_, err = NewClient(s.Path()).Status(t.Context())
	require.NoError(t, err)
	require.NoError(t, s.Close())

	require.NoError(t, os.WriteFile(filepath.Join(dir, socketName), nil, 0o600))
	_, err = Open(dir, &fakeNode{}, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "is no socket (-rw-------): move it away")
}

// A path that no socket can have is replaced by a short one.
func TestLongPath(t *testing.T) {
	dir := filepath.Join(shortTemp(t), strings.Repeat("long", 30))
	require.NoError(t, os.Mkdir(dir, 0o700))
	temp := shortTemp(t)
	t.Setenv("TMPDIR", temp)
	s := open(t, dir, &fakeNode{})
	require.LessOrEqual(t, len(s.Path()), maxPath)
	require.True(t, strings.HasPrefix(s.Path(), temp))
	info, err := os.Stat(filepath.Dir(s.Path()))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	_, err = NewClient(s.Path()).Status(t.Context())
	require.NoError(t, err)
	require.NoError(t, s.Close())
	requireEmpty(t, temp)

	killed, err := listen(dir) // and its files stay
	require.NoError(t, err)
	require.NoError(t, killed.Close())
	RemoveLast(filepath.Join(temp, "other", socketName)) // nothing of ours
	RemoveLast(killed.path)
	requireEmpty(t, temp)

	t.Setenv("TMPDIR", dir)
	_, err = Open(dir, &fakeNode{}, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "have more than 103 bytes: name a shorter data directory")
	requireEmpty(t, dir)
}

func requireEmpty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}

// A node that answers nonsense is told from one that answers with a problem.
func TestAnswersThatAreNone(t *testing.T) {
	for name, answer := range map[string]string{
		"no JSON":    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{",
		"no problem": "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
		"no HTTP":    "hello\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(shortTemp(t), "s")
			l, err := net.Listen("unix", path)
			require.NoError(t, err)
			defer l.Close()
			var served sync.WaitGroup
			defer served.Wait()
			served.Go(func() {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				_, _ = conn.Read(make([]byte, 1<<10))
				_, _ = io.Copy(conn, bytes.NewReader([]byte(answer)))
			})
			_, err = NewClient(path).Status(t.Context())
			require.ErrorContains(t, err, path)
		})
	}
}
