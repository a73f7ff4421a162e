package api

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/node/api/schema"
)

// maxCallTime is how long a call may be asked to take.
const maxCallTime = time.Minute

// overTime is how long a reader has to end a call that nobody waits for.
const overTime = 10 * time.Second

func (s *Server) registerCalls(api huma.API) {
	const tag = "calls"
	op := operation(http.MethodPost, "/v1/call", "call", tag, "Call a procedure, wherever it is served")
	op.Middlewares = takes(maxCallTime + askTime) // it has bounds of its own
	post(api, op, s.call)

	op = operation(http.MethodPost, "/v1/serve", "serve", tag, "Serve a procedure until the reader leaves: each call, to be answered by answer", http.StatusTooManyRequests)
	op.Responses = events(api, event{"call", schema.ServedCall{}})
	huma.Register(api, op, s.serveCalls)
	post(api, operation(http.MethodPost, "/v1/answer", "answer", tag, "Answer a call that came by serve", http.StatusNotFound, http.StatusGone), s.answerCall)
}

func (s *Server) call(ctx context.Context, asked schema.CallRequest) (schema.CallAnswer, error) {
	if asked.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(asked.Timeout*float64(time.Second)))
		defer cancel()
	}
	args, err := wire.FromJSON([]byte("null"))
	if err != nil {
		return schema.CallAnswer{}, err
	}
	if len(asked.Args.Raw) > 0 {
		args = asked.Args.Raw
	}
	result, err := s.node.Call(ctx, asked.Procedure, args)
	if told, ok := errors.AsType[*schema.CallError](err); ok {
		return schema.CallAnswer{Error: told}, nil
	} else if err != nil {
		return schema.CallAnswer{}, problem(http.StatusUnprocessableEntity, "%v", err)
	}
	return schema.CallAnswer{Result: schema.Value{Raw: result}}, nil
}

// servings are the procedures that readers serve.
type servings struct {
	mu   sync.Mutex
	open map[string]*serving
}

// serving is one, and the calls that its reader has to answer.
type serving struct {
	token string
	there context.Context // ends when its reader has gone, or the server is closed
	ready chan struct{}   // closed once out is set
	out   *stream

	mu      sync.Mutex
	last    int
	waiting map[string]chan schema.AnswerRequest
}

func (s *Server) serveCalls(ctx context.Context, asked *question[schema.ServeRequest]) (*huma.StreamResponse, error) {
	leave, err := stay(ctx)
	if err != nil {
		return nil, err
	}
	there, gone := context.WithCancel(ctx)
	v := &serving{token: rand.Text(), there: there, ready: make(chan struct{}), waiting: make(map[string]chan schema.AnswerRequest)}
	withdraw, err := s.node.Serve(ctx, asked.Body.Procedure, asked.Body.AtOnce, v.ask)
	if err != nil {
		gone()
		leave()
		return nil, problem(http.StatusUnprocessableEntity, "%v", err)
	}
	end := func() {
		gone()
		_ = withdraw() // which the node logs
		leave()
	}
	return streamed(end, func(ctx context.Context, out *stream) {
		s.servings.enter(v)
		defer s.servings.leave(v)
		v.out = out
		err := out.say("call", schema.ServedCall{Serving: v.token})
		close(v.ready)
		if err == nil {
			<-ctx.Done()
		}
	}), nil
}

// ask has the reader answer a call.
func (v *serving) ask(ctx context.Context, args wire.Raw) (wire.Raw, error) {
	select {
	case <-v.ready:
	case <-v.there.Done():
		return nil, errServerGone
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	answer := make(chan schema.AnswerRequest, 1)
	v.mu.Lock()
	v.last++
	id := strconv.Itoa(v.last)
	v.waiting[id] = answer
	v.mu.Unlock()
	defer func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		delete(v.waiting, id)
	}()
	if err := v.out.say("call", schema.ServedCall{Serving: v.token, ID: id, Args: schema.Value{Raw: args}}); err != nil {
		return nil, errServerGone
	}
	select {
	case a := <-answer:
		if a.Error != nil {
			return nil, a.Error
		}
		if len(a.Result.Raw) == 0 {
			return wire.FromJSON([]byte("null"))
		}
		return a.Result.Raw, nil
	case <-v.there.Done():
		return nil, errServerGone
	case <-ctx.Done():
	}
	_ = v.out.say("call", schema.ServedCall{Serving: v.token, ID: id, Over: true}) // else it has ended
	late := time.NewTimer(overTime)
	defer late.Stop()
	select { // nobody waits for it, but it is at work until then
	case <-answer:
	case <-v.there.Done():
	case <-late.C:
	}
	return nil, ctx.Err()
}

var errServerGone = &schema.CallError{Code: wire.CodeProviderGone, Message: "The command that serves the procedure has ended"}

func (s *servings) enter(v *serving) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = make(map[string]*serving)
	}
	s.open[v.token] = v
}

func (s *servings) leave(v *serving) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, v.token)
}

func (s *Server) answerCall(_ context.Context, said schema.AnswerRequest) (none struct{}, err error) {
	s.servings.mu.Lock()
	v := s.servings.open[said.Serving]
	s.servings.mu.Unlock()
	if v == nil {
		return none, problem(http.StatusNotFound, "nothing is served as %q", said.Serving)
	}
	v.mu.Lock()
	answer := v.waiting[said.ID]
	delete(v.waiting, said.ID)
	v.mu.Unlock()
	if answer == nil {
		return none, problem(http.StatusGone, "the call %q is over", said.ID)
	}
	answer <- said
	return none, nil
}
