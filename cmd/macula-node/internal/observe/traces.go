package observe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// flushTime is how long spans that are not sent yet have at the end.
const flushTime = 500 * time.Millisecond

// Traces sends spans by OTLP over HTTP to a collector at an endpoint, such as
// http://127.0.0.1:4318, below whose path is v1/traces. What OTEL_EXPORTER_OTLP_HEADERS,
// OTEL_TRACES_SAMPLER and their like say holds too. Close it.
type Traces struct{ *sdktrace.TracerProvider }

// NewTraces begins; a collector that is not there is no error, but logged as spans are
// lost.
func NewTraces(ctx context.Context, endpoint, version string, log *slog.Logger) (*Traces, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		shown, _ := Masked(endpoint)
		return nil, fmt.Errorf("OTLP endpoint %q: want http://HOST:PORT or https://HOST:PORT", shown)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("telemetry was not told", "err", err) }))
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(u.JoinPath("v1/traces").String()))
	if err != nil {
		shown, _ := Masked(endpoint)
		return nil, fmt.Errorf("OTLP endpoint %s: %w", shown, err)
	}
	about, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.name", "macula-node"), attribute.String("service.version", version),
	), resource.WithFromEnv(), resource.WithTelemetrySDK())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err), exporter.Shutdown(ctx))
	}
	return &Traces{sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about))}, nil
}

// scheme is what may stand before who asks and his password.
var scheme = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]*:)?//`)

// Masked returns an endpoint, be it a URL or not, without what is before its last @, which is
// a user, a token or a password, and whether there was any of it.
func Masked(endpoint string) (shown string, masked bool) {
	at := strings.LastIndexByte(endpoint, '@')
	if at < 0 {
		return endpoint, false
	}
	return scheme.FindString(endpoint[:at]) + "xxxxx" + endpoint[at:], true
}

// Close sends what is left, for half a second at most.
func (t *Traces) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), flushTime)
	defer cancel()
	if err := t.Shutdown(ctx); err != nil {
		return fmt.Errorf("send the last spans: %w", err)
	}
	return nil
}
