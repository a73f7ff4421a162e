package gateway_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"time"

	"github.com/libp2p/go-libp2p"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/gateway"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// A gateway on a port of its own, put beside a libp2p host that someone else
// built: what is stored through one is found through the other.
func Example() {
	h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/udp/0/quic-v1"), libp2p.DisableRelay())
	if err != nil {
		panic(err)
	}
	defer h.Close()
	service, err := maculadht.New(h)
	if err != nil {
		panic(err)
	}
	defer service.Close()

	g, err := gateway.New(service.Handlers())
	if err != nil {
		panic(err)
	}
	defer g.Close()
	addr, err := g.ListenOn("127.0.0.1:0", selfSigned())
	if err != nil {
		panic(err)
	}

	// Whoever speaks to gateways needs no host.
	d, err := dialer.New()
	if err != nil {
		panic(err)
	}
	defer d.Close()
	to := routing.Contact{Endpoint: "https://" + addr.String()}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()

	key, nodeID := sha256.Sum256([]byte("weather.service")), sha256.Sum256([]byte("node-1"))
	err = client.Put(ctx, d, to, wire.StoreArgs{Key: key[:], Value: wire.RawMap(
		wire.Pair{Key: "node_id", Value: wire.RawBytes(nodeID[:])},
		wire.Pair{Key: "endpoint", Value: wire.RawText("https://192.0.2.7:9443")},
		wire.Pair{Key: "ttl", Value: wire.RawInt(300)},
	)})
	fmt.Println("put:", err)

	reply, err := client.FindValue(ctx, d, to, key[:])
	if err != nil {
		panic(err)
	}
	endpoint, _ := reply.Values[0].Field("endpoint")
	text, _ := endpoint.Bytes()
	fmt.Printf("found at the gateway: %s\n", text)

	values, err := service.Handlers().LookupValue(ctx, key[:])
	fmt.Println("found at the host:", len(values), err)
	// Output:
	// put: <nil>
	// found at the gateway: https://192.0.2.7:9443
	// found at the host: 1 <nil>
}

// selfSigned returns a certificate; Erlang nodes verify nothing in it.
func selfSigned() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().AddDate(10, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
