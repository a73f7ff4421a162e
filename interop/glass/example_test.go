package glass_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/interop/glass"
)

// What a careless client does to a node, and how a test sees it.
func Example() {
	g, err := glass.Start(glass.Realm("org.example"))
	if err != nil {
		panic(err)
	}
	defer g.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conf := &tls.Config{NextProtos: []string{glass.ALPN}, InsecureSkipVerify: true}
	conn, err := quic.DialAddr(ctx, g.Addr().String(), conf, nil)
	if err != nil {
		panic(err)
	}
	defer conn.CloseWithError(0, "")
	stream, err := conn.OpenStreamSync(ctx)
	if err != nil {
		panic(err)
	}
	frame, err := framing.AppendFrame(nil, &wire.Connect{Version: "1.0", NodeID: []byte("me"), RealmID: "com.example", Endpoint: "https://192.0.2.7:9443"})
	if err != nil {
		panic(err)
	}
	if _, err := stream.Write(frame); err != nil {
		panic(err)
	}

	fmt.Println(g.WaitBroken(ctx))
	// Output: hang: CONNECT of another realm ("com.example", a bin) <nil>
}
