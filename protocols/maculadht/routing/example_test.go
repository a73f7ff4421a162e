package routing_test

import (
	"fmt"
	"time"

	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// A contact is named to others while nothing makes it doubtful.
func ExampleServer_FindNode() {
	server, err := routing.NewServer(routing.IDFromBytes([]byte("our peer id")))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()

	id := routing.IDFromPeer("a peer")
	err = server.Admit(routing.Contact{ID: id, NodeID: id[:], Peer: "a peer", Verified: true, LastSeen: time.Now()})
	fmt.Println(err, len(server.FindNode([]byte("any target"))))
	server.Table().Failed(id, time.Now())
	fmt.Println(len(server.FindNode([]byte("any target"))))
	server.Table().Alive(id, time.Now())
	fmt.Println(len(server.FindNode([]byte("any target"))))
	// Output:
	// <nil> 1
	// 0
	// 1
}
