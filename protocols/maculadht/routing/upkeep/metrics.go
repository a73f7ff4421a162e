package upkeep

// MetricsTracer is told what an [Upkeep] does. Its methods are called by several
// goroutines at once: they must return soon. What contacts are asked is told to the
// tracer of the lookups.
type MetricsTracer interface {
	// HandedOver is called for each record that was offered to a newcomer.
	HandedOver(taken bool)
}

type noTracer struct{}

func (noTracer) HandedOver(bool) {}
