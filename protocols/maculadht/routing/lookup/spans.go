package lookup

import (
	"context"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

const scope = "github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"

// MaxQuestionSpans is how many questions of a lookup are spans of their own. An honest
// network needs fewer; of more the span of the lookup says how many.
const MaxQuestionSpans = 64

// lookupSpan is one lookup; nil where nobody wants to know.
type lookupSpan struct {
	trace.Span
	questions atomic.Int64
}

type spanKey struct{}

// beginSpan begins the span of a lookup.
func (l *Lookups) beginSpan(ctx context.Context, kind Kind, key []byte) (context.Context, *lookupSpan) {
	if l.cfg.spans == nil {
		return ctx, nil
	}
	ctx, span := l.cfg.spans.Start(ctx, "lookup", trace.WithAttributes(
		attribute.String("macula.lookup.kind", string(kind)),
		attribute.Stringer("macula.lookup.target", routing.IDFromBytes(key)),
	))
	s := &lookupSpan{Span: span}
	if !span.IsRecording() {
		return ctx, s
	}
	return context.WithValue(ctx, spanKey{}, s), s
}

func (s *lookupSpan) end(found *Found, asked, hops int, err error) {
	if s == nil {
		return
	}
	s.SetAttributes(
		attribute.String("macula.lookup.result", string(resultOf(err))),
		attribute.Int("macula.lookup.asked", asked),
		attribute.Int("macula.lookup.hops", hops),
		attribute.Int("macula.lookup.values", len(found.Values)),
		attribute.Int64("macula.lookup.questions_without_span", max(s.questions.Load()-MaxQuestionSpans, 0)),
	)
	failed(s.Span, err)
	s.Span.End()
}

// questionSpan is one question of a lookup; nil where nobody wants to know.
type questionSpan struct{ trace.Span }

// beginQuestion begins the span of a question, where it is one of a lookup that has room.
func (l *Lookups) beginQuestion(ctx context.Context, to routing.Contact, question wire.Type) (context.Context, *questionSpan) {
	if l.cfg.spans == nil {
		return ctx, nil
	}
	of, _ := ctx.Value(spanKey{}).(*lookupSpan)
	if of == nil || of.questions.Add(1) > MaxQuestionSpans {
		return ctx, nil
	}
	kind := "libp2p"
	if to.IsErlang() {
		kind = "erlang"
	}
	ctx, span := l.cfg.spans.Start(ctx, question.String(), trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("macula.contact.kind", kind),
		attribute.Stringer("macula.contact.id", to.ID),
	))
	return ctx, &questionSpan{span}
}

func (s *questionSpan) end(err error) {
	if s == nil {
		return
	}
	s.SetAttributes(attribute.String("macula.question.result", string(resultOf(err))))
	failed(s.Span, err)
	s.Span.End()
}

// failed notes why a span came to nothing. That nothing was found is no failure.
func failed(s trace.Span, err error) {
	if r := resultOf(err); r != ResultOK && r != ResultNotFound {
		s.SetStatus(codes.Error, err.Error())
	}
}
