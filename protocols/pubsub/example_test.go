package pubsub_test

import (
	"context"
	"fmt"
	"log"

	"github.com/libp2p/go-libp2p"

	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/pubsub"
)

// A program has topics on its own host. Others that are in its network, Erlang clients
// among them, get what it publishes, and the other way round.
func Example() {
	ctx := context.Background()
	host, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/udp/0/quic-v1"), libp2p.DisableMetrics())
	if err != nil {
		log.Fatal(err)
	}
	defer host.Close()
	service, err := maculadht.New(host, maculadht.WithRealm("org.example"))
	if err != nil {
		log.Fatal(err)
	}
	defer service.Close()
	topics, err := pubsub.New(service)
	if err != nil {
		log.Fatal(err)
	}
	defer topics.Close()

	temperatures, err := topics.Subscribe(ctx, "org.example.*.temp")
	if err != nil {
		log.Fatal(err)
	}
	if err := topics.Publish(ctx, "org.example.hall.temp", []byte("21")); err != nil {
		log.Fatal(err)
	}
	for m := range temperatures.Messages() {
		fmt.Printf("%s: %s\n", m.Topic, m.Payload())
		break
	}
	// Output: org.example.hall.temp: 21
}
