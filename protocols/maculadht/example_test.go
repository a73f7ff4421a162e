package maculadht_test

import (
	"context"
	"fmt"
	"log"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// A program that has a libp2p host of its own serves the DHT on it with New.
// Another one, which only asks, needs no more than client.New.
func Example() {
	ctx := context.Background()

	srv := yourHost()
	defer srv.Close()
	service, err := maculadht.New(srv, maculadht.WithRealm("org.example"))
	if err != nil {
		log.Fatal(err)
	}
	defer service.Close()

	asker := yourHost()
	defer asker.Close()
	cl, err := client.New(asker)
	if err != nil {
		log.Fatal(err)
	}
	defer cl.Close()

	to := routing.Contact{Peer: srv.ID(), Addrs: srv.Addrs()}
	err = client.Put(ctx, cl, to, procedures.StoreArgs{
		Key: []byte("org.example.weather"),
		Value: wire.RawMap(
			wire.Pair{Key: "node_id", Value: wire.RawText("station-7")},
			wire.Pair{Key: "endpoint", Value: wire.RawText("https://192.0.2.7:9443")},
			wire.Pair{Key: "ttl", Value: wire.RawInt(300)},
		),
	})
	if err != nil {
		log.Fatal(err)
	}
	reply, err := client.FindValue(ctx, cl, to, []byte("org.example.weather"))
	if err != nil {
		log.Fatal(err)
	}
	for _, value := range reply.Values {
		endpoint, _ := value.Field("endpoint")
		text, _ := endpoint.Bytes()
		fmt.Printf("%s\n", text)
	}
	// Output: https://192.0.2.7:9443
}

// A service is advertised until it is withdrawn. Whoever joins the same network
// finds it.
func ExampleService_AdvertiseService() {
	ctx := context.Background()

	first := yourHost()
	defer first.Close()
	provider, err := maculadht.New(first)
	if err != nil {
		log.Fatal(err)
	}
	defer provider.Close()

	second := yourHost()
	defer second.Close()
	caller, err := maculadht.New(second)
	if err != nil {
		log.Fatal(err)
	}
	defer caller.Close()
	err = provider.Join(ctx, peer.AddrInfo{ID: second.ID(), Addrs: second.Addrs()})
	if err != nil {
		log.Fatal(err)
	}

	offer, err := provider.AdvertiseService(ctx, maculadht.Offer{Name: "greeter", Endpoint: "https://192.0.2.7:8080"})
	if err != nil {
		log.Fatal(err)
	}
	defer offer.Withdraw()
	<-offer.Published() // another node has it

	providers, err := caller.FindProviders(ctx, "greeter")
	if err != nil {
		log.Fatal(err)
	}
	for _, p := range providers {
		fmt.Println(p.Endpoint)
	}
	// Output: https://192.0.2.7:8080
}

// Who advertises a service over libp2p can be dialled: its record has its addresses.
func ExampleProvider() {
	ctx := context.Background()

	first := yourHost()
	defer first.Close()
	greeter, err := maculadht.New(first)
	if err != nil {
		log.Fatal(err)
	}
	defer greeter.Close()
	second := yourHost()
	defer second.Close()
	caller, err := maculadht.New(second)
	if err != nil {
		log.Fatal(err)
	}
	defer caller.Close()
	if err := greeter.Join(ctx, peer.AddrInfo{ID: second.ID(), Addrs: second.Addrs()}); err != nil {
		log.Fatal(err)
	}
	offer, err := greeter.AdvertiseService(ctx, maculadht.Offer{Name: "greeter"})
	if err != nil {
		log.Fatal(err)
	}
	defer offer.Withdraw()
	<-offer.Published()

	providers, err := caller.FindProviders(ctx, "greeter")
	if err != nil {
		log.Fatal(err)
	}
	p := providers[0].Peer
	if p.ID == "" {
		log.Fatal("an Erlang node's, to be reached by its Endpoint")
	}
	if err := second.Connect(ctx, p); err != nil {
		log.Fatal(err)
	}
	fmt.Println(p.ID == first.ID()) // go on with second.NewStream(ctx, p.ID, …)
	// Output: true
}

// Providers come one by one, as those answer who know them: the first will do, and
// nobody else is asked then.
func ExampleService_ProvidersSeq() {
	ctx := context.Background()

	h := yourHost()
	defer h.Close()
	service, err := maculadht.New(h)
	if err != nil {
		log.Fatal(err)
	}
	defer service.Close()
	offer, err := service.AdvertiseService(ctx, maculadht.Offer{Name: "greeter", Endpoint: "https://192.0.2.7:8080"})
	if err != nil {
		log.Fatal(err)
	}
	defer offer.Withdraw()

	for p, err := range service.ProvidersSeq(ctx, "greeter") {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(p.Endpoint)
		break
	}
	// Output: https://192.0.2.7:8080
}

// What one peer stores any other of the same network finds, wherever it lies.
func ExampleService_Join() {
	ctx := context.Background()

	first := yourHost()
	defer first.Close()
	bootstrap, err := maculadht.New(first)
	if err != nil {
		log.Fatal(err)
	}
	defer bootstrap.Close()

	second := yourHost()
	defer second.Close()
	service, err := maculadht.New(second)
	if err != nil {
		log.Fatal(err)
	}
	defer service.Close()
	if err := service.Join(ctx, peer.AddrInfo{ID: first.ID(), Addrs: first.Addrs()}); err != nil {
		log.Fatal(err)
	}
	<-service.Joined() // Join does not wait: a bootstrap peer may start much later

	key := []byte("org.example.weather")
	replicas, err := service.Store(ctx, key, wire.RawMap(wire.Pair{Key: "node_id", Value: wire.RawText("station-7")}))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("acknowledged by", len(replicas.Acknowledged))

	found, err := bootstrap.FindValues(ctx, key)
	if err != nil {
		log.Fatal(err)
	}
	for _, value := range found.Values {
		fmt.Printf("%s\n", value.NodeID)
	}
	// Output:
	// acknowledged by 1
	// station-7
}

// yourHost stands for the host that your program has already.
func yourHost() host.Host {
	h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/udp/0/quic-v1"))
	if err != nil {
		log.Fatal(err)
	}
	return h
}
