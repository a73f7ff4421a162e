package glass

import (
	"fmt"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
)

// readTopicRecord returns the node that a topic's record names, nil for one
// that is skipped, and its endpoint. It reports whether it could be read: what
// can not crashes the gateway, at each PUBLISH of the topic.
func (g *Gateway) readTopicRecord(record wire.Raw) (id, endpoint wire.Raw, ok bool) {
	id, named := field(record, "node_id")
	endpoint, told := field(record, "endpoint")
	switch {
	case !named:
		return nil, nil, true
	case id.Kind() != wire.Bin:
		g.crashGatewayNow(CauseTopicNodeID, id.Kind().String())
		return nil, nil, false
	case len(contentOf(id)) < 32:
		g.crashGatewayNow(CauseTopicNodeID, fmt.Sprintf("%d bytes", len(contentOf(id))))
		return nil, nil, false
	case told && endpoint.Kind() != wire.Bin:
		g.crashGatewayNow(CauseTopicEndpoint, endpoint.Kind().String())
		return nil, nil, false
	case !told:
		return nil, nil, true
	}
	if _, err := endpoints.Parse(contentOf(endpoint)); err != nil {
		return nil, nil, true
	}
	return id, endpoint, true
}

// serviceFault tells why macula:call crashes on a service's record. Without a
// cause it does not.
func serviceFault(record wire.Raw) (why Cause, detail string) {
	for key := range record.Fields() {
		switch text := contentOf(key); {
		case key.Kind() != wire.Bin:
			return CauseServiceKey, key.Kind().String()
		case len(text) > wire.MaxField:
			return CauseServiceKey, fmt.Sprintf("%d bytes", len(text))
		}
	}
	if _, ok := field(record, "node_id"); !ok {
		return CauseServiceNodeID, ""
	}
	return "", ""
}
