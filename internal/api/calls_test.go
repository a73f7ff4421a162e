package api

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
)

func TestCall(t *testing.T) {
	c := NewClient(open(t, shortTemp(t), &fakeNode{}).Path())
	answer, err := c.Call(t.Context(), CallRequest{Procedure: "echo", Args: json.RawMessage(`{"x":1}`)})
	require.NoError(t, err)
	require.JSONEq(t, `{"x":1}`, string(answer.Result))
	answer, err = c.Call(t.Context(), CallRequest{Procedure: "fails"})
	require.NoError(t, err)
	require.Equal(t, &CallError{Code: "handler_error", Message: "no"}, answer.Error)
	answer, err = c.Call(t.Context(), CallRequest{Procedure: "waits", Timeout: 0.05})
	require.NoError(t, err)
	require.Equal(t, "timeout", answer.Error.Code)
	for name, asked := range map[string]CallRequest{
		"a name that can not be": {},
		"a time that can not be": {Procedure: "echo", Timeout: 61},
		"a negative time":        {Procedure: "echo", Timeout: -1},
		"too much":               {Procedure: "echo", Args: json.RawMessage(`"` + strings.Repeat("x", maxBody) + `"`)},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.Call(t.Context(), asked)
			p, ok := errors.AsType[*Problem](err)
			require.True(t, ok, err)
			require.True(t, p.Wrong())
		})
	}
}

// A procedure is served as long as who serves it is there, and each call is answered
// once.
func TestServe(t *testing.T) {
	n := &fakeNode{}
	c := NewClient(open(t, shortTemp(t), n).Path())
	ctx, cancel := context.WithCancel(t.Context())
	calls, ended := make(chan ServedCall, 10), make(chan error, 1)
	go func() { ended <- c.Serve(ctx, ServeRequest{Procedure: "p"}, func(s ServedCall) { calls <- s }) }()
	serving := (<-calls).Serving
	require.NotEmpty(t, serving)

	err := c.Serve(t.Context(), ServeRequest{Procedure: "p"}, func(ServedCall) {})
	require.ErrorContains(t, err, "served already")

	called := make(chan CallAnswer, 1)
	call := func(timeout float64) {
		a, err := c.Call(t.Context(), CallRequest{Procedure: "p", Args: json.RawMessage(`[1]`), Timeout: timeout})
		if err != nil {
			a.Error = &CallError{Message: err.Error()}
		}
		called <- a
	}
	go call(10)
	came := <-calls
	require.Equal(t, `[1]`, string(came.Args))
	reply := AnswerRequest{Serving: serving, ID: came.ID, CallAnswer: CallAnswer{Result: json.RawMessage(`2`)}}
	require.NoError(t, c.Answer(t.Context(), reply))
	require.Equal(t, `2`, string((<-called).Result))
	require.ErrorContains(t, c.Answer(t.Context(), reply), "is over")

	go call(0.05)
	came = <-calls
	require.Equal(t, ServedCall{Serving: serving, ID: came.ID, Over: true}, <-calls, "nobody waits for it any more")
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
	s := open(t, shortTemp(t), &fakeNode{})
	c := NewClient(s.Path())
	began, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- c.Serve(t.Context(), ServeRequest{Procedure: "p"}, func(ServedCall) { close(began) }) }()
	<-began
	require.NoError(t, s.Close())
	require.ErrorIs(t, <-ended, ErrNoAnswer)
}
