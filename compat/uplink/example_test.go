package uplink_test

import (
	"context"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/compat/uplink"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/interop/glass"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
)

// A service on a host that someone else built joins the mesh of an Erlang
// gateway, and finds what is advertised there.
func ExampleNew() {
	erlang, err := glass.Start(glass.RegisterAfter(0)) // stands for https://gw.example.org:9443
	if err != nil {
		panic(err)
	}
	defer erlang.Close()
	erlang.Store(maculadht.ServiceKey("greeter"), wire.RawMap(
		wire.Pair{Key: "node_id", Value: wire.RawText(erlang.ClientID())},
		wire.Pair{Key: "endpoint", Value: wire.RawText("https://192.0.2.7:8080")},
	))

	h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/udp/0/quic-v1"), libp2p.DisableRelay())
	if err != nil {
		panic(err)
	}
	defer h.Close()
	d, err := dialer.New()
	if err != nil {
		panic(err)
	}
	defer d.Close()
	dht, err := maculadht.New(h, maculadht.WithEndpoints(d))
	if err != nil {
		panic(err)
	}
	defer dht.Close()

	at, err := identity.ParsePinnedEndpoint(erlang.Endpoint())
	if err != nil {
		panic(err)
	}
	uplinks, err := uplink.New(d, dht.Handlers(), []identity.PinnedEndpoint{at})
	if err != nil {
		panic(err)
	}
	defer uplinks.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for ctx.Err() == nil { // until the gateway is a contact
		if providers, err := dht.FindProviders(ctx, "greeter"); err == nil {
			fmt.Println(providers[0].Endpoint)
			return
		}
	}
	// Output: https://192.0.2.7:8080
}
