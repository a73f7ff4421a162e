package routing_test

import (
	"fmt"
	"time"

	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// Erlang nodes are named to others while they are connected.
func ExampleServer_AttachGuest() {
	server, err := routing.NewServer(routing.IDFromBytes([]byte("our peer id")))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()

	nodeID := []byte("an Erlang node")
	detach, err := server.AttachGuest(routing.Contact{
		ID:       routing.IDFromBytes(nodeID),
		NodeID:   nodeID,
		Endpoint: "https://a.b:9443",
		LastSeen: time.Now(),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, c := range server.FindNode([]byte("any target")) {
		fmt.Printf("%s at %s\n", c.NodeID, c.Endpoint)
	}
	detach()
	fmt.Println(len(server.FindNode([]byte("any target"))))
	// Output:
	// an Erlang node at https://a.b:9443
	// 0
}
