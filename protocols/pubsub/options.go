package pubsub

import (
	"errors"
	"fmt"
	"log/slog"
)

// Limits are what topics may cost.
type Limits struct {
	// Subscriptions is how many there are at a time of all streams together, of which who
	// has most loses the newest for others, and as many of this program;
	// SubscriptionsPerPeer those of one stream, where what was UNSUBSCRIBEd counts as long as
	// it lives. Each is reserved from its peer's account too.
	Subscriptions, SubscriptionsPerPeer int
	// Names, NamesPerSource are under how many names it is told that somebody here has
	// subscribed, in all and for one source. Who has most of them has the newest not told
	// for those of others, until there is room: he gets what is published here, and
	// elsewhere where others here have subscribed to it too.
	Names, NamesPerSource int
	// NamesRate is how many of them a second are told anew or withdrawn, after NamesBurst
	// at once.
	NamesRate, NamesBurst int
	// Topics is how many topics are remembered, with who has subscribed to them. Of more
	// those go that were not published for the longest.
	Topics int
	// Lookups is how many lookups of subscribers run at a time, LookupsRate how many a
	// second begin.
	Lookups, LookupsRate int
	// Waiting is how many messages of a topic wait until it is known who elsewhere has
	// subscribed, and WaitingBytes how many bytes of them for all topics. The oldest go
	// where there are more.
	Waiting, WaitingBytes int
	// Nodes is how many others are sent something at a time. Queue and QueueBytes are how
	// many messages, and bytes of them, wait for one that takes them slowly, and for a
	// Subscription that is not read. The oldest go where there are more.
	Nodes             int
	Queue, QueueBytes int
	// ErlangRate is how many messages a second an Erlang gateway is sent.
	ErlangRate int
}

// DefaultLimits returns those of topics for which [WithLimits] says nothing else: 65,536
// subscriptions, 1,024 on a stream; 4,096 names, 1,024 for a source, 32 a second after 256
// at once; 4,096 topics; 8 lookups, 64 a second; 1,024 messages of a topic that wait for one, 32 MiB of all; 1,024
// nodes, each and each Subscription with a queue of 1,024 messages of 4 MiB; 200 messages
// a second to an Erlang gateway.
func DefaultLimits() Limits {
	return Limits{
		Subscriptions: 1 << 16, SubscriptionsPerPeer: 1024,
		Names: 4096, NamesPerSource: 1024, NamesRate: 32, NamesBurst: 256,
		Topics:  4096,
		Lookups: 8, LookupsRate: 64,
		Waiting: 1024, WaitingBytes: 32 << 20,
		Nodes: 1024, Queue: 1024, QueueBytes: 4 << 20,
		ErlangRate: 200,
	}
}

// Validate returns which limits make no sense, and what to set.
func (l Limits) Validate() error {
	for name, n := range map[string]int{
		"Subscriptions": l.Subscriptions, "SubscriptionsPerPeer": l.SubscriptionsPerPeer,
		"Names": l.Names, "NamesPerSource": l.NamesPerSource, "NamesRate": l.NamesRate, "NamesBurst": l.NamesBurst,
		"Topics": l.Topics, "Lookups": l.Lookups, "LookupsRate": l.LookupsRate, "Waiting": l.Waiting, "WaitingBytes": l.WaitingBytes,
		"Nodes": l.Nodes, "Queue": l.Queue, "QueueBytes": l.QueueBytes, "ErlangRate": l.ErlangRate,
	} {
		if n < 1 {
			return fmt.Errorf("limits: %s is %d: want 1 or more", name, n)
		}
	}
	return nil
}

type config struct {
	limits Limits
	log    *slog.Logger
	tracer MetricsTracer
}

// Option sets a detail of Topics.
type Option func(*config) error

// WithLimits sets what topics may cost: begin with DefaultLimits, which are without it.
func WithLimits(l Limits) Option {
	return func(c *config) error {
		c.limits = l
		return l.Validate()
	}
}

// WithLogger sets where Topics log; go-log's macula/pubsub without it.
func WithLogger(log *slog.Logger) Option {
	return func(c *config) error {
		if log == nil {
			return errors.New("logger is nil")
		}
		c.log = log
		return nil
	}
}
