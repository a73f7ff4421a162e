package pebble

import "time"

// MetricsTracer is told what a store does. Its methods are called by the goroutine that
// writes: they must return soon, and must not call the store.
type MetricsTracer interface {
	// Committed is called for a batch that was written: of how many updates, how many
	// bytes, whether it was synced, and how long that took.
	Committed(updates, bytes int, synced bool, took time.Duration)
	// Failed is called when the disk has failed, with why.
	Failed(err error)
	// Recovered is called when it works again, with for how long it did not.
	Recovered(after time.Duration)
	// Refused is called for an update that was refused for want of room.
	Refused()
}

type noTracer struct{}

func (noTracer) Committed(int, int, bool, time.Duration) {}
func (noTracer) Failed(error)                            {}
func (noTracer) Recovered(time.Duration)                 {}
func (noTracer) Refused()                                {}
