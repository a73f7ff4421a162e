package routing

import (
	"context"
	"errors"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// MetricsTracer is told what a [Server], its [Lookups] and their [Upkeep] do. Its
// methods are called by several goroutines at once, some under a lock: they must
// return soon, and must not call this package.
type MetricsTracer interface {
	// LookupDone is called at the end of a lookup, with how many contacts answered.
	LookupDone(kind LookupKind, result Result, took time.Duration, hops int)
	// QueryDone is called when a contact was asked something, be it by a lookup, for
	// a sign of life or to keep a record: question is the type of what was sent.
	QueryDone(question wire.Type, result Result, took time.Duration)
	// TableSize is called with how many contacts the table holds, when that changes.
	TableSize(contacts int)
	// HandedOver is called for each record that was offered to a newcomer.
	HandedOver(taken bool)
}

// LookupKind is what a lookup is for.
type LookupKind string

// The kinds of lookups.
const (
	LookupNodes  LookupKind = "nodes"
	LookupValues LookupKind = "values"
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

func (noTracer) LookupDone(LookupKind, Result, time.Duration, int) {}
func (noTracer) QueryDone(wire.Type, Result, time.Duration)        {}
func (noTracer) TableSize(int)                                     {}
func (noTracer) HandedOver(bool)                                   {}
