package rpc_test

import (
	"context"
	"fmt"
	"log"

	"github.com/libp2p/go-libp2p"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/rpc"
)

// A program serves a procedure, and calls one; where the other one is matters to neither.
func Example() {
	ctx := context.Background()
	h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/udp/0/quic-v1"))
	if err != nil {
		log.Fatal(err)
	}
	defer h.Close()
	service, err := maculadht.New(h, maculadht.WithRealm("org.example"))
	if err != nil {
		log.Fatal(err)
	}
	defer service.Close()
	calls, err := rpc.New(service)
	if err != nil {
		log.Fatal(err)
	}
	defer calls.Close()

	add, err := calls.Serve(ctx, "org.example.add", func(_ context.Context, r *rpc.Request) (any, error) {
		var args struct{ A, B int }
		if err := r.Unmarshal(&args); err != nil {
			return nil, err
		}
		return map[string]int{"sum": args.A + args.B}, nil
	})
	if err != nil {
		log.Fatal(err)
	}
	defer add.Withdraw()

	result, err := calls.Call(ctx, "org.example.add", map[string]int{"a": 1, "b": 2})
	if err != nil {
		log.Fatal(err)
	}
	var sum struct{ Sum int }
	if err := wire.Unmarshal(result, &sum); err != nil {
		log.Fatal(err)
	}
	fmt.Println(sum.Sum)
	// Output: 3
}
