package client

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A node that answers nonsense is told from one that answers with a problem.
func TestAnswersThatAreNone(t *testing.T) {
	for name, answer := range map[string]string{
		"no JSON":    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{",
		"no problem": "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
		"no HTTP":    "hello\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			dir, err := os.MkdirTemp("", "client")
			require.NoError(t, err)
			t.Cleanup(func() { os.RemoveAll(dir) })
			path := filepath.Join(dir, "s")
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
			_, err = New(path).Status(t.Context())
			require.ErrorContains(t, err, path)
		})
	}
}

func TestReadEvents(t *testing.T) {
	var read []Event
	err := readEvents(bytes.NewBufferString(": hello\n\nevent: a\ndata: 1\ndata: 2\n\ndata:3\r\n\r\nevent: none\n\ndata: lost"), func(e Event) bool {
		read = append(read, e)
		return true
	})
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.Equal(t, []Event{{"a", []byte("1\n2")}, {"", []byte("3")}}, read)
}

// FuzzReadEvents: whatever a stream has, its events are read or it is an error.
func FuzzReadEvents(f *testing.F) {
	f.Add([]byte("event: a\ndata: {}\n\n: alive\n\ndata\n\n"))
	f.Add([]byte("\r\n\r\ndata: \x00\n\n:"))
	f.Fuzz(func(t *testing.T, text []byte) {
		n := 0
		err := readEvents(bytes.NewReader(text), func(e Event) bool {
			require.NotEmpty(t, e.Data)
			n++
			return n < 10
		})
		if n < 10 {
			require.Error(t, err)
		}
	})
}
