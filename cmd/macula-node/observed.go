package main

import (
	"context"
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/urfave/cli/v3"
	"go.opentelemetry.io/otel/trace"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/flags"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/observe"
	"github.com/macula-mesh/macula-node/internal/logs"
	"github.com/macula-mesh/macula-node/node"
)

// observing is what shows from within what the program does.
type observing struct {
	registry *prometheus.Registry
	traces   *observe.Traces   // nil without
	profiles *observe.Profiles // nil without
}

// observed begins with what the flags want. Close it.
func observed(ctx context.Context, cmd *cli.Command) (*observing, error) {
	o := &observing{registry: node.NewRegistry()}
	if err := observe.KadMetrics(o.registry); err != nil {
		return nil, err
	}
	log := logs.Logger("node")
	var err error
	if at := cmd.String("pprof"); at != "" {
		if o.profiles, err = observe.ServeProfiles(at, log); err != nil {
			return nil, flags.Usagef("--pprof: %w", err)
		}
	}
	if to := cmd.String("otlp-endpoint"); to != "" {
		if o.traces, err = observe.NewTraces(ctx, to, version(), log); err != nil {
			return nil, errors.Join(flags.Usagef("--otlp-endpoint (OTEL_EXPORTER_OTLP_ENDPOINT): %w", err), o.close())
		}
	}
	return o, nil
}

// tracerProvider returns what spans are made by, nil for nothing.
func (o *observing) tracerProvider() trace.TracerProvider {
	if o.traces == nil {
		return nil
	}
	return o.traces
}

func (o *observing) close() error {
	var errs []error
	if o.profiles != nil {
		errs = append(errs, o.profiles.Close())
	}
	if o.traces != nil {
		if err := o.traces.Close(); err != nil {
			logs.Logger("node").Warn("the last traces are lost", "err", err)
		}
	}
	return errors.Join(errs...)
}
