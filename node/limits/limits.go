// Package limits has how much the parts of a node do, beside what peers may use, what records
// may cost and what connections may.
package limits

import (
	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/gateway"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/replication"
	"github.com/macula-mesh/macula-node/protocols/maculadht/resolver"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/diversity"
	"github.com/macula-mesh/macula-node/protocols/pubsub"
	"github.com/macula-mesh/macula-node/protocols/rpc"
	"github.com/macula-mesh/macula-node/protocols/watch"
)

// Parts are the limits of the parts of a node. Begin with Defaults: a field that is 0 has no
// default.
type Parts struct {
	Client    client.Limits      // what libp2p peers are asked
	Dialer    dialer.Limits      // what Erlang nodes are asked
	Gateway   gateway.Limits     // what Erlang nodes may; of Conns the node's own hold
	Resolver  resolver.Limits    // what is looked up for Erlang nodes
	Adopter   replication.Limits // what is replicated for them
	Diversity diversity.Limits   // how many contacts an IP group has
	Topics    pubsub.Limits
	Calls     rpc.Limits
	Watches   watch.Limits
}

// Defaults returns the defaults of each package.
func Defaults() Parts {
	return Parts{
		Client:    client.DefaultLimits(),
		Dialer:    dialer.DefaultLimits(),
		Gateway:   gateway.DefaultLimits(),
		Resolver:  resolver.DefaultLimits(),
		Adopter:   replication.DefaultLimits(),
		Diversity: diversity.Defaults(),
		Topics:    pubsub.DefaultLimits(),
		Calls:     rpc.DefaultLimits(),
		Watches:   watch.DefaultLimits(),
	}
}

// ServiceOptions are those of the service that tell it the limits of its parts.
func (l Parts) ServiceOptions() []maculadht.Option {
	return []maculadht.Option{
		maculadht.WithClient(client.WithLimits(l.Client)),
		maculadht.WithResolver(resolver.WithLimits(l.Resolver)),
		maculadht.WithAdopter(replication.WithLimits(l.Adopter)),
		maculadht.WithRouting(routing.WithDiversity(l.Diversity)),
	}
}

// Validate returns which limits make no sense, by "Parts." and the names of their fields.
func (l Parts) Validate() map[string]error {
	wrong := make(map[string]error)
	for field, of := range map[string]interface{ Validate() error }{
		"Client": l.Client, "Dialer": l.Dialer, "Gateway": l.Gateway, "Resolver": l.Resolver, "Adopter": l.Adopter,
		"Diversity": l.Diversity, "Topics": l.Topics, "Calls": l.Calls, "Watches": l.Watches,
	} {
		if err := of.Validate(); err != nil {
			wrong["Parts."+field] = err
		}
	}
	return wrong
}
