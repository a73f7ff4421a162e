package wire_test

import (
	"encoding/hex"
	"fmt"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/compat/wire/values"
)

// A frame as a macula v0.20.3 node sent it becomes a message.
func ExampleDecodeFrame() {
	b, _ := hex.DecodeString("010300000000001581c40974696d657374616d70cf0000018bcfe5687b")
	f, _, err := framing.DecodeFrame(b)
	if err != nil {
		fmt.Println(err)
		return
	}
	m, err := f.Decode()
	if err != nil {
		fmt.Println(err)
		return
	}
	switch m := m.(type) {
	case *wire.Ping:
		fmt.Println(f.Type, m.Timestamp.V)
	default:
		fmt.Println(f.Type)
	}
	// Output: ping 1700000000123
}

// A value is a map; written with this package it has bin for every text, the
// only form that an Erlang node can read.
func ExampleStore() {
	value := wire.RawMap(
		wire.Pair{Key: "node_id", Value: wire.RawText("node-1")},
		wire.Pair{Key: "endpoint", Value: wire.RawText("https://192.0.2.7:9443")},
		wire.Pair{Key: "ttl", Value: wire.RawInt(300)},
	)
	v, err := values.Parse(value)
	if err != nil {
		fmt.Println(err)
		return
	}
	frame, err := framing.AppendFrame(nil, &wire.Store{Key: []byte("key"), Value: v.Raw})
	if err != nil {
		fmt.Println(err)
		return
	}
	text, _ := v.Raw.MarshalJSON()
	fmt.Printf("%d bytes, for %v: %s\n", len(frame), v.TTL, text)
	// Output: 99 bytes, for 5m0s: {"endpoint":"https://192.0.2.7:9443","node_id":"node-1","ttl":300}
}

// A Go struct becomes a value that may be stored, and comes back.
func ExampleMarshal() {
	type service struct {
		NodeID   string            `macula:"node_id"`
		Endpoint string            // in snake case where there is no tag
		TTL      time.Duration     // whole seconds on the wire
		Metadata map[string]string `macula:"metadata,omitempty"`
		Ports    []int             `macula:"ports,omitempty"`
	}
	raw, err := wire.Marshal(service{
		NodeID: "node-1", Endpoint: "https://192.0.2.7:9443", TTL: 5 * time.Minute, Metadata: map[string]string{"version": "1.0"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	v, err := values.Parse(raw)
	if err != nil {
		fmt.Println(err)
		return
	}
	text, _ := v.Raw.MarshalJSON()
	fmt.Printf("of %s, for %v: %s\n", v.NodeID, v.TTL, text)

	var back service
	if err := wire.Unmarshal(v.Raw, &back); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(back.Endpoint, back.Metadata["version"])

	bad := wire.RawMap(wire.Pair{Key: "ports", Value: wire.RawArray(wire.RawInt(1), wire.RawText("2"))})
	fmt.Println(wire.Unmarshal(bad, &back))
	// Output:
	// of node-1, for 5m0s: {"endpoint":"https://192.0.2.7:9443","metadata":{"version":"1.0"},"node_id":"node-1","ttl":300}
	// https://192.0.2.7:9443 1.0
	// ports[1]: mistyped value: bin instead of int
}
