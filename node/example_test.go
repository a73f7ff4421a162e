package node_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/node"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// A node that serves libp2p peers and Erlang nodes on one UDP port, here asked
// as an Erlang node would.
func ExampleNew() {
	key, _, err := crypto.GenerateEd25519Key(rand.Reader) // credentials.LoadOrCreateKey keeps one in a file
	if err != nil {
		panic(err)
	}
	n, err := node.New(node.Config{Key: key, Listen: []string{"/ip4/127.0.0.1/udp/0/quic-v1"}})
	if err != nil {
		panic(err)
	}
	defer n.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	self := routing.Contact{Endpoint: n.Endpoint()}
	const id = "2744ccd10c7533bd736ad890f9dd5cab2adb27b07d500b9493f29cdc420cb2e0" // a shorter one harms Erlang nodes
	value := wire.RawMap(wire.Pair{Key: "node_id", Value: wire.RawText(id)})
	if err := client.Put(ctx, n.Dialer(), self, procedures.StoreArgs{Key: []byte("a.service"), Value: value}); err != nil {
		panic(err)
	}
	values, err := n.Service().Handlers().LookupValue(ctx, []byte("a.service"))
	fmt.Println(n.Realm(), len(values), err)
	// Output: macula.default 1 <nil>
}
