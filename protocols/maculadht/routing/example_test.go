package routing_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// A peer stores what it offers under a key; whoever asks for the key finds it.
func Example() {
	server, err := routing.NewServer(routing.IDFromBytes([]byte("our peer id")))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()

	sender := routing.IDFromBytes([]byte("their peer id"))
	key := routing.IDFromBytes([]byte("com.example.add"))
	err = server.Store(routing.Put{
		Key:    key[:],
		Value:  []byte("\x81\xc4\x08endpoint\xc4\x10https://a.b:9443"),
		NodeID: sender[:],
		TTL:    5 * time.Minute,
		From:   sender,
		Source: "their peer id",
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	records, err := server.Values(key[:])
	fmt.Println(len(records), records[0].Owned, err)

	_, err = server.Values([]byte("nobody"))
	fmt.Println(errors.Is(err, routing.ErrNotFound))
	// Output:
	// 1 true <nil>
	// true
}

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
