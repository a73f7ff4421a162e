package interop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/interop/glass"
	"github.com/macula-mesh/macula-node/node/api/client"
	"github.com/macula-mesh/macula-node/node/api/schema"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/rpc"
)

// callEnds is in what time a call has to have ended, whatever becomes of its provider: an
// Erlang caller breaks after 5 s, and a program's call here is over by then too.
const callEnds = 5 * time.Second

// slowProcedure is one of a program at left that answers nothing: calls of it are in flight.
const slowProcedure = testRealm + ".at.left.slow"

// callLoad is calls that are made while left is killed, and what became of them.
type callLoad struct {
	mu       sync.Mutex
	answered map[string]int // by caller and provider
	failed   map[string]int
	wrong    []string // those that ended too late, or without a reason
	ended    int      // of those that were in flight when left was killed
}

func (l *callLoad) note(what string, took time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.answered[what]++
	} else {
		l.failed[what]++
	}
	if took > callEnds || err != nil && (!isClear(err) || strings.HasSuffix(what, "program at right")) {
		l.wrong = append(l.wrong, fmt.Sprintf("%s after %v: %v", what, took, err))
	}
}

// isClear reports whether an error of a call says what became of it.
func isClear(err error) bool {
	_, code := errors.AsType[*wire.CallError](err)
	_, said := errors.AsType[*glass.CallError](err)
	_, apart := errors.AsType[*schema.CallError](err)
	return code || said || apart || errors.Is(err, maculadht.ErrUnreachable) || errors.Is(err, rpc.ErrNotFound) || errors.Is(err, rpc.ErrTimeout)
}

// answeredNow returns how many calls of a kind were answered.
func (l *callLoad) answeredNow(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.answered[what]
}

// serveSlow has a program at left serve what is never answered; called has a token for each
// call that has come.
func serveSlow(t *testing.T, c *client.Client) (called chan struct{}, end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	served, ended := make(chan struct{}), make(chan struct{})
	called = make(chan struct{}, 10)
	go func() {
		defer close(ended)
		_ = c.Serve(ctx, schema.ServeRequest{Procedure: slowProcedure}, func(call schema.ServedCall) {
			if call.ID == "" {
				close(served)
				return
			}
			called <- struct{}{}
		})
	}()
	<-served
	return called, func() { cancel(); <-ended }
}

// callersOfLeft are who calls while left is killed; they are not at left themselves.
var callersOfLeft = []string{"program at right", "client at right", "program on a bare host"}

// call has all call what is at left and what is not, until ctx ends: one after the other, as
// an Erlang client takes the answer of one look for a provider for that of another.
func (l *callLoad) call(ctx context.Context, e *everywhere, tasks *sync.WaitGroup) {
	for _, from := range callersOfLeft {
		caller := e.places[from]
		tasks.Go(func() {
			for ctx.Err() == nil {
				for _, to := range []string{"client at left", "program at right"} {
					start := time.Now()
					_, err := caller.call(procedureAt(to), `{"n":1}`)
					l.note(from+" → "+to, time.Since(start), err)
				}
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
}

// inFlight has all call what is never answered, and returns once all of these calls have
// come. A program at left that calls is told at once too.
func (l *callLoad) inFlight(t *testing.T, e *everywhere, called <-chan struct{}, tasks *sync.WaitGroup) {
	t.Helper()
	callers := append([]string{"program at left"}, callersOfLeft...)
	require.EventuallyWithT(t, func(c *assert.CollectT) { // an Erlang client takes no miss for an answer
		values, err := e.vms[1].FindValue(inTime(t), e.right.Endpoint(), maculadht.ServiceKey(slowProcedure))
		assert.NoError(c, err)
		assert.NotEmpty(c, values)
	}, patience, tick)
	for _, from := range callers {
		tasks.Go(func() {
			start := time.Now()
			_, err := e.places[from].call(slowProcedure, `{}`)
			took := time.Since(start)
			l.mu.Lock()
			defer l.mu.Unlock()
			l.ended++
			if err == nil || took > callEnds || from != "program at left" && !isClear(err) {
				l.wrong = append(l.wrong, fmt.Sprintf("%s, in flight, after %v: %v", from, took, err))
			}
			t.Logf("%s, in flight: %v after %v", from, err, took.Round(time.Millisecond))
		})
	}
	for range callers {
		select {
		case <-called:
		case <-time.After(patience):
			require.Fail(t, "a call did not come")
		}
	}
}

// require looks at what became of all calls: those of what is not at left were all answered.
func (l *callLoad) require(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	text, _ := json.Marshal(map[string]any{"answered": l.answered, "failed": l.failed})
	t.Logf("%s", text)
	require.Empty(t, l.wrong)
	require.Equal(t, 1+len(callersOfLeft), l.ended)
	for _, from := range callersOfLeft {
		what := from + " → program at right"
		require.NotZero(t, l.answered[what], what)
		require.Zero(t, l.failed[what], what)
		require.NotZero(t, l.answered[from+" → client at left"], from)
	}
}
