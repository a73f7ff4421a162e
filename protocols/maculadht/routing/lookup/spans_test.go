package lookup

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

func attributeOf(s tracetest.SpanStub, key attribute.Key) any {
	for _, a := range s.Attributes {
		if a.Key == key {
			return a.Value.AsInterface()
		}
	}
	return nil
}

func TestLookupsAreSpans(t *testing.T) {
	play(t, 3, func(t *testing.T, s *script) {
		kept := tracetest.NewInMemoryExporter()
		provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(kept))
		s.Know(s.Peers...)
		s.Replies[s.Peers[1].ID] = says(nil, proto.ErrUnreachable)
		l := lookups(s, WithTracerProvider(provider))
		_, err := l.Values(t.Context(), s.Target[:])
		require.ErrorIs(t, err, records.ErrNotFound)
		spans := kept.GetSpans()
		require.Len(t, spans, 4)
		lookup := spans[3] // it ends last
		require.Equal(t, "lookup", lookup.Name)
		require.Equal(t, "values", attributeOf(lookup, "macula.lookup.kind"))
		require.Equal(t, s.Target.String(), attributeOf(lookup, "macula.lookup.target"))
		require.Equal(t, "not_found", attributeOf(lookup, "macula.lookup.result"))
		require.EqualValues(t, 3, attributeOf(lookup, "macula.lookup.asked"))
		require.EqualValues(t, 1, attributeOf(lookup, "macula.lookup.hops"))
		require.Equal(t, codes.Unset, lookup.Status.Code, "that there is nothing is no failure")
		results := make(map[any]any)
		for _, q := range spans[:3] {
			require.Equal(t, "find_value", q.Name)
			require.Equal(t, trace.SpanKindClient, q.SpanKind)
			require.Equal(t, lookup.SpanContext.SpanID(), q.Parent.SpanID())
			require.Equal(t, "libp2p", attributeOf(q, "macula.contact.kind"))
			results[attributeOf(q, "macula.contact.id")] = attributeOf(q, "macula.question.result")
		}
		require.Equal(t, map[any]any{s.Peers[0].ID.String(): "ok", s.Peers[1].ID.String(): "unreachable", s.Peers[2].ID.String(): "ok"}, results)

		kept.Reset()
		_, err = l.Query(t.Context(), s.Peers[0], &wire.FindNode{Target: s.Target[:]})
		require.NoError(t, err)
		require.Empty(t, kept.GetSpans(), "what the upkeep asks is no lookup")
	})
}

// However many contacts are named, a lookup has so many spans and no more.
func TestSpansAreBounded(t *testing.T) {
	const named = 2 * MaxQuestionSpans
	play(t, named, func(t *testing.T, s *script) {
		kept := tracetest.NewInMemoryExporter()
		s.Know(s.Peers...)
		s.Other = says(nil, proto.ErrUnreachable)
		s.Replies[s.Peers[named-1].ID] = names()
		found, err := lookups(s, WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSyncer(kept)))).Nodes(t.Context(), s.Target[:])
		require.NoError(t, err)
		asked := len(found.Hops)
		require.Greater(t, asked, MaxQuestionSpans)
		spans := kept.GetSpans()
		require.Len(t, spans, MaxQuestionSpans+1)
		require.EqualValues(t, asked-MaxQuestionSpans, attributeOf(spans[MaxQuestionSpans], "macula.lookup.questions_without_span"))
	})
}
