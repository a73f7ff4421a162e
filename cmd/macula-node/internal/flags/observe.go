package flags

import "github.com/urfave/cli/v3"

// Observe are the flags of what shows from within what run does.
func Observe() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "otlp-endpoint", Usage: "`URL` of an OpenTelemetry collector, http://HOST:PORT, that traces of lookups are sent to by OTLP over HTTP (default: none)", Sources: Env("OTEL_EXPORTER_OTLP_ENDPOINT")},
		&cli.StringFlag{Name: "pprof", Usage: "`IP:PORT` of loopback that serves Go's profiles at /debug/pprof/ (default: none)"},
	}
}
