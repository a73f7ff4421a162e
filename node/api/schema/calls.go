package schema

// CallRequest asks for a procedure to be called.
type CallRequest struct {
	Procedure string  `json:"procedure"`
	Args      Value   `json:"args,omitzero"`
	Timeout   float64 `json:"timeout,omitempty" minimum:"0" maximum:"60" doc:"seconds; 0 for what is usual"`
}

// CallAnswer is what came of a call: an error, or else a result.
type CallAnswer struct {
	Result Value      `json:"result,omitzero"`
	Error  *CallError `json:"error,omitempty"`
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

// ServeRequest has calls of a procedure come as events, each a ServedCall, until the caller
// leaves.
type ServeRequest struct {
	Procedure string `json:"procedure"`
	AtOnce    int    `json:"at_once,omitempty" minimum:"0" doc:"how many calls come before one of them is answered; 0 for as many as the node has of any procedure. One IP group of callers has three quarters of them at most. Others wait for their turn"`
}

// ServedCall is a call that is to be answered, or, without an ID, says as the first that
// the procedure is served.
type ServedCall struct {
	Serving string `json:"serving" doc:"comes back in the answer"`
	ID      string `json:"id,omitempty"`
	Args    Value  `json:"args,omitzero"`
	Over    bool   `json:"over,omitempty" doc:"nobody waits any more for the answer of the call with this id, which came before. It has its place until it is answered all the same, for 10 s at most"`
}

// AnswerRequest answers a ServedCall.
type AnswerRequest struct {
	Serving string     `json:"serving"`
	ID      string     `json:"id"`
	Result  Value      `json:"result,omitzero"`
	Error   *CallError `json:"error,omitempty"`
}
