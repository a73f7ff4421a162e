package api

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
)

// maxCallTime is how long a call may be asked to take.
const maxCallTime = time.Minute

// CallRequest asks for a procedure to be called.
type CallRequest struct {
	Procedure string          `json:"procedure"`
	Args      json.RawMessage `json:"args,omitempty"`
	Timeout   float64         `json:"timeout,omitempty"` // seconds, at most 60; 0 for what is usual
}

// CallAnswer is what came of a call: an error, or else a result.
type CallAnswer struct {
	Result json.RawMessage `json:"result,omitempty"`
	Error  *CallError      `json:"error,omitempty"`
}

// CallError is why a call has no result.
type CallError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	// Unserved says that nobody was found who serves the procedure.
	Unserved bool `json:"unserved,omitempty"`
}

func (e *CallError) Error() string {
	if e.Message == "" {
		return e.Code
	}
	return e.Code + ": " + e.Message
}

// ServeRequest has calls of a procedure come as the lines of the answer, each a
// ServedCall, until the caller leaves.
type ServeRequest struct {
	Procedure string `json:"procedure"`
	// AtOnce is how many calls come before one of them is answered; 0 for as many as
	// there are. Others wait for their turn.
	AtOnce int `json:"at_once,omitempty"`
}

// ServedCall is a call that is to be answered, or, without an ID, says as the first that
// the procedure is served.
type ServedCall struct {
	Serving string          `json:"serving"` // comes back in the answer
	ID      string          `json:"id,omitempty"`
	Args    json.RawMessage `json:"args,omitempty"`
	// Over says that nobody waits any more for the answer of the call with this ID, which
	// came before. It has its place until it is answered all the same.
	Over bool `json:"over,omitempty"`
}

// AnswerRequest answers a ServedCall.
type AnswerRequest struct {
	Serving string `json:"serving"`
	ID      string `json:"id"`
	CallAnswer
}

// CallNode calls and serves procedures, in JSON.
type CallNode interface {
	// Call calls a procedure. The error is a *CallError where the call was made.
	Call(ctx context.Context, procedure string, args json.RawMessage) (json.RawMessage, error)
	// Serve has f answer the calls of a procedure until withdraw, at most atOnce at a time,
	// or, where that is 0, as many as there may be.
	Serve(ctx context.Context, procedure string, atOnce int, f func(ctx context.Context, args json.RawMessage) (json.RawMessage, error)) (withdraw func() error, err error)
}

// servings are the procedures that commands serve.
type servings struct {
	mu   sync.Mutex
	open map[string]*serving
}

// serving is one, and the calls that its command has to answer.
type serving struct {
	token string
	there context.Context // ends when its command has gone, or the server is closed

	mu      sync.Mutex
	last    int
	waiting map[string]chan CallAnswer
	writing sync.Mutex
	w       http.ResponseWriter
}

func (s *Server) call(w http.ResponseWriter, r *http.Request) (any, error) {
	var asked CallRequest
	if err := decode(r, &asked); err != nil {
		return nil, err
	}
	ctx := r.Context()
	if asked.Timeout < 0 || asked.Timeout > maxCallTime.Seconds() {
		return nil, problem(http.StatusBadRequest, "timeout %v: write 0 to %v seconds", asked.Timeout, maxCallTime.Seconds())
	}
	if asked.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(asked.Timeout*float64(time.Second)))
		defer cancel()
	}
	c := http.NewResponseController(w) // the call has bounds of its own
	if err := errors.Join(c.SetReadDeadline(time.Time{}), c.SetWriteDeadline(time.Now().Add(maxCallTime+askTime))); err != nil {
		return nil, err
	}
	result, err := s.node.Call(ctx, asked.Procedure, asked.Args)
	if told, ok := errors.AsType[*CallError](err); ok {
		return CallAnswer{Error: told}, nil
	} else if err != nil {
		return nil, problem(http.StatusUnprocessableEntity, "%v", err)
	}
	return CallAnswer{Result: result}, nil
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) (any, error) {
	var asked ServeRequest
	if err := decode(r, &asked); err != nil {
		return nil, err
	}
	if asked.AtOnce < 0 {
		return nil, problem(http.StatusBadRequest, "at_once %d: write 0 or more", asked.AtOnce)
	}
	v := &serving{token: rand.Text(), there: r.Context(), waiting: make(map[string]chan CallAnswer), w: w}
	leave, err := s.stay()
	if err != nil {
		return nil, err
	}
	defer leave()
	s.servings.enter(v)
	defer s.servings.leave(v)
	withdraw, err := s.node.Serve(r.Context(), asked.Procedure, asked.AtOnce, v.ask)
	if err != nil {
		return nil, problem(http.StatusUnprocessableEntity, "%v", err)
	}
	defer withdraw() // which the node logs
	w.Header().Set("Content-Type", "application/x-ndjson")
	if err := v.say(ServedCall{Serving: v.token}); err != nil {
		return nil, nil
	}
	<-r.Context().Done()
	return nil, nil
}

// ask has the command answer a call.
func (v *serving) ask(ctx context.Context, args json.RawMessage) (json.RawMessage, error) {
	answer := make(chan CallAnswer, 1)
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
	if err := v.say(ServedCall{Serving: v.token, ID: id, Args: args}); err != nil {
		return nil, errServerGone
	}
	select {
	case a := <-answer:
		if a.Error != nil {
			return nil, a.Error
		}
		return a.Result, nil
	case <-v.there.Done():
		return nil, errServerGone
	case <-ctx.Done():
	}
	_ = v.say(ServedCall{Serving: v.token, ID: id, Over: true}) // else it has ended
	late := time.NewTimer(overTime)
	defer late.Stop()
	select { // nobody waits for it, but it is at work until then
	case <-answer:
	case <-v.there.Done():
	case <-late.C:
	}
	return nil, ctx.Err()
}

// overTime is how long a command has to end a call that nobody waits for.
const overTime = 10 * time.Second

var errServerGone = &CallError{Code: wire.CodeProviderGone, Message: "The command that serves the procedure has ended"}

// say writes a line.
func (v *serving) say(c ServedCall) error {
	line, err := json.Marshal(c)
	if err != nil {
		return err
	}
	v.writing.Lock()
	defer v.writing.Unlock()
	if v.w == nil {
		return http.ErrServerClosed
	}
	out := http.NewResponseController(v.w)
	if err := errors.Join(out.SetReadDeadline(time.Time{}), out.SetWriteDeadline(time.Now().Add(askTime))); err != nil {
		return err
	}
	if _, err := v.w.Write(append(line, '\n')); err != nil {
		return err
	}
	return out.Flush()
}

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
	delete(s.open, v.token)
	s.mu.Unlock()
	v.writing.Lock() // a line that is being written ends first: the answer is over then
	v.w = nil
	v.writing.Unlock()
}

func (s *Server) answerCall(_ http.ResponseWriter, r *http.Request) (any, error) {
	var said AnswerRequest
	if err := decode(r, &said); err != nil {
		return nil, err
	}
	s.servings.mu.Lock()
	v := s.servings.open[said.Serving]
	s.servings.mu.Unlock()
	if v == nil {
		return nil, problem(http.StatusNotFound, "nothing is served as %q", said.Serving)
	}
	v.mu.Lock()
	answer := v.waiting[said.ID]
	delete(v.waiting, said.ID)
	v.mu.Unlock()
	if answer == nil {
		return nil, problem(http.StatusGone, "the call %q is over", said.ID)
	}
	answer <- said.CallAnswer
	return struct{}{}, nil
}
