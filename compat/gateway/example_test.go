package gateway_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log"
	"time"

	"github.com/libp2p/go-libp2p"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/gateway"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// A gateway on a port of its own, put beside a libp2p host that someone else
// built: what is stored through one is found through the other.
func Example() {
	h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/udp/0/quic-v1")) // your host
	if err != nil {
		log.Fatal(err)
	}
	defer h.Close()

	d, err := dialer.New() // asks Erlang nodes: those that came, and were found to answer
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	service, err := maculadht.New(h, maculadht.WithEndpoints(d))
	if err != nil {
		log.Fatal(err)
	}
	defer service.Close()

	cert, err := gateway.SelfSign(nil) // a key that is kept makes it the same node after a restart
	if err != nil {
		log.Fatal(err)
	}
	g, err := gateway.New(service.Handlers(), gateway.WithDialer(d))
	if err != nil {
		log.Fatal(err)
	}
	defer g.Close()
	addr, err := g.ListenOn("127.0.0.1:0", cert) // ":9443" for everybody
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("peers are told of it:", service.Handlers().Endpoint() == "https://"+addr.String())

	// As an Erlang node asks:
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	asker, err := dialer.New()
	if err != nil {
		log.Fatal(err)
	}
	defer asker.Close()
	to := routing.Contact{Endpoint: g.Endpoint()}
	key, nodeID := sha256.Sum256([]byte("weather.service")), sha256.Sum256([]byte("node-1"))
	err = client.Put(ctx, asker, to, procedures.StoreArgs{Key: key[:], Value: wire.RawMap(
		wire.Pair{Key: "node_id", Value: wire.RawBytes(nodeID[:])},
		wire.Pair{Key: "endpoint", Value: wire.RawText("https://192.0.2.7:9443")},
		wire.Pair{Key: "ttl", Value: wire.RawInt(300)},
	)})
	fmt.Println("put:", err)
	reply, err := client.FindValue(ctx, asker, to, key[:])
	if err != nil {
		log.Fatal(err)
	}
	endpoint, _ := reply.Values[0].Field("endpoint")
	text, _ := endpoint.Bytes()
	fmt.Printf("found at the gateway: %s\n", text)

	providers, err := service.FindProviders(ctx, "weather.service")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("found at the host:", providers[0].Endpoint)
	// Output:
	// peers are told of it: true
	// put: <nil>
	// found at the gateway: https://192.0.2.7:9443
	// found at the host: https://192.0.2.7:9443
}
