package lookup

import (
	"context"
	"errors"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// MetricsTracer is told what [Lookups] do. Its methods are called by several
// goroutines at once: they must return soon.
type MetricsTracer interface {
	// LookupDone is called at the end of a lookup, with how many contacts it asked, and
	// over how many hops the farthest of those that ended came to be known: 1 for one of
	// our own table, 0 where nobody was asked.
	LookupDone(kind Kind, result Result, took time.Duration, asked, hops int)
	// QueryDone is called when a contact was asked something, be it by a lookup or by
	// [Lookups.Query]: question is the type of what was sent.
	QueryDone(question wire.Type, result Result, took time.Duration)
	// ProofFailed is called for a proof in an answer that does not hold.
	ProofFailed()
}

// Kind is what a lookup is for.
type Kind string

// The kinds of lookups.
const (
	KindNodes  Kind = "nodes"
	KindValues Kind = "values"
)

// Result is what a query or a lookup came to.
type Result string

// The results of queries and lookups.
const (
	ResultOK          Result = "ok"          // an answer came; a value was found, or the nearest were
	ResultNotFound    Result = "not_found"   // a lookup found no value
	ResultRemote      Result = "remote"      // the answer was an error
	ResultRefused     Result = "refused"     // proto.ErrRefused
	ResultUnreachable Result = "unreachable" // proto.ErrUnreachable
	ResultTimeout     Result = "timeout"     // its time was over
	ResultCancelled   Result = "cancelled"   // it was given up
	ResultFailed      Result = "failed"      // anything else
)

// resultOf returns the result that an error stands for.
func resultOf(err error) Result {
	switch {
	case err == nil:
		return ResultOK
	case errors.Is(err, records.ErrNotFound):
		return ResultNotFound
	case errors.Is(err, proto.ErrRemote):
		return ResultRemote
	case errors.Is(err, proto.ErrRefused):
		return ResultRefused
	case errors.Is(err, context.DeadlineExceeded):
		return ResultTimeout
	case errors.Is(err, context.Canceled):
		return ResultCancelled
	case errors.Is(err, proto.ErrUnreachable):
		return ResultUnreachable
	default:
		return ResultFailed
	}
}

type noTracer struct{}

func (noTracer) LookupDone(Kind, Result, time.Duration, int, int) {}
func (noTracer) QueryDone(wire.Type, Result, time.Duration)       {}
func (noTracer) ProofFailed()                                     {}
