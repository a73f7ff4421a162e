package glass_test

import (
	"context"
	"crypto/tls"
	"sync"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/interop/glass"
)

// recorder is a plain QUIC server that answers what a test tells it to, and
// keeps the frames that came, by connection.
type recorder struct {
	endpoint string
	answer   func(framing.Frame) []byte
	hangUp   bool // ends its side of a stream after each answer

	mu      sync.Mutex
	streams [][]framing.Frame // one stream a connection
	ended   []error           // how the connections ended
}

func record(tb testing.TB, answer func(framing.Frame) []byte) *recorder {
	tb.Helper()
	conf := &tls.Config{Certificates: []tls.Certificate{start(tb).Certificate()}, NextProtos: []string{glass.ALPN}}
	ln, err := quic.ListenAddr("127.0.0.1:0", conf, nil)
	require.NoError(tb, err)
	return recordOn(tb, ln, answer)
}

func recordOn(tb testing.TB, ln *quic.Listener, answer func(framing.Frame) []byte) *recorder {
	r := &recorder{endpoint: "https://" + ln.Addr().String(), answer: answer}
	var tasks sync.WaitGroup
	var open []*quic.Conn // of the one that accepts, until that has ended
	accepted := make(chan struct{})
	tasks.Go(func() {
		defer close(accepted)
		for {
			conn, err := ln.Accept(context.Background())
			if err != nil {
				return
			}
			open = append(open, conn)
			tasks.Go(func() { r.serve(conn) })
		}
	})
	tb.Cleanup(func() {
		ln.Close()
		<-accepted
		for _, conn := range open {
			conn.CloseWithError(0, "")
		}
		tasks.Wait()
	})
	return r
}

func (r *recorder) serve(conn *quic.Conn) {
	r.mu.Lock()
	i := len(r.streams)
	r.streams, r.ended = append(r.streams, nil), append(r.ended, nil)
	r.mu.Unlock()
	defer func() {
		<-conn.Context().Done()
		r.mu.Lock()
		defer r.mu.Unlock()
		r.ended[i] = context.Cause(conn.Context())
	}()
	s, err := conn.AcceptStream(context.Background())
	if err != nil {
		return
	}
	in := framing.NewReader(s)
	for {
		f, err := in.Next()
		if err != nil {
			return
		}
		f.Payload = append([]byte(nil), f.Payload...)
		r.mu.Lock()
		r.streams[i] = append(r.streams[i], f)
		r.mu.Unlock()
		if b := r.answer(f); b != nil {
			s.Write(b)
			if r.hangUp {
				s.CancelRead(0)
				s.Close()
			}
		}
	}
}

func (r *recorder) conns() [][]framing.Frame {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([][]framing.Frame(nil), r.streams...)
}

// frames returns those that came on a connection so far, none where there is no such yet.
func (r *recorder) frames(i int) []framing.Frame {
	if conns := r.conns(); i < len(conns) {
		return conns[i]
	}
	return nil
}

// end waits for the end of a connection and returns its code.
func (r *recorder) end(tb testing.TB, i int) quic.ApplicationErrorCode {
	tb.Helper()
	var err error
	eventually(tb, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		if i < len(r.ended) {
			err = r.ended[i]
		}
		return err != nil
	}, "the connection ends")
	var closed *quic.ApplicationError
	require.ErrorAs(tb, err, &closed)
	return closed.ErrorCode
}

func silent(framing.Frame) []byte { return nil }
