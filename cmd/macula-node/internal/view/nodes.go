package view

import (
	"encoding/hex"
	"fmt"
	"io"
	"time"

	ma "github.com/multiformats/go-multiaddr"
	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/terminal"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/addressing"
)

// Node is a node as JSON shows it.
type Node struct {
	NodeID   string         `json:"node_id"` // hexadecimal, as everywhere but in a value
	PeerID   string         `json:"peer_id,omitempty"`
	Address  string         `json:"address"`
	Addrs    []ma.Multiaddr `json:"addrs,omitempty"`
	LastSeen time.Time      `json:"last_seen"`
}

// NodesOf returns nodes as JSON shows them.
func NodesOf(nodes []wire.Node) []Node {
	views := make([]Node, len(nodes))
	for i, n := range nodes {
		p := addressing.PeerOf(n)
		views[i] = Node{
			NodeID:   idText(n.ID),
			PeerID:   p.ID.String(),
			Address:  n.Address,
			Addrs:    p.Addrs,
			LastSeen: wire.TimeOfMilli(n.LastSeen).UTC(),
		}
	}
	return views
}

// idText shows a node id: a text as Erlang clients send it, else hexadecimal.
func idText(id []byte) string {
	if len(id) == 2*32 {
		if _, err := hex.DecodeString(string(id)); err == nil {
			return string(id)
		}
	}
	return hex.EncodeToString(id)
}

// Nodes prints the nodes that a node knows.
func Nodes(cmd *cli.Command, nodes []wire.Node) error {
	if cmd.Bool("json") {
		return terminal.PrintJSON(cmd, map[string]any{"nodes": NodesOf(nodes)})
	}
	if len(nodes) == 0 {
		_, err := fmt.Fprintln(cmd.Root().Writer, "it knows no nodes")
		return err
	}
	return terminal.Table(cmd.Root().Writer, func(w io.Writer) {
		fmt.Fprintln(w, "NODE ID\tLAST SEEN\tADDRESS")
		for _, n := range nodes {
			seen := time.Since(wire.TimeOfMilli(n.LastSeen)).Round(time.Second)
			address := n.Address
			p := addressing.PeerOf(n)
			for _, a := range p.Addrs { // as an ADDR is written
				address += fmt.Sprintf(" %s/p2p/%s", a, p.ID)
			}
			fmt.Fprintf(w, "%s\t%v ago\t%s\n", idText(n.ID), max(seen, 0), terminal.Legible(address))
		}
	})
}

// Gateway is a gateway as JSON shows it.
type Gateway struct {
	NodeID       string `json:"node_id"` // as of a Node
	Host         string `json:"host"`
	Port         int64  `json:"port"`
	Realm        string `json:"realm"`
	RegisteredAt int64  `json:"registered_at,omitempty"` // s since 1970
}

// GatewaysOf returns gateways as JSON shows them.
func GatewaysOf(list procedures.GatewayList) []Gateway {
	views := make([]Gateway, len(list))
	for i, g := range list {
		views[i] = Gateway{idText(g.NodeID), g.Host, g.Port, g.Realm, g.RegisteredAt.Or(0)}
	}
	return views
}

// Gateways prints the gateways that a node knows.
func Gateways(cmd *cli.Command, list procedures.GatewayList) error {
	if cmd.Bool("json") {
		return terminal.PrintJSON(cmd, map[string]any{"peers": GatewaysOf(list)})
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(cmd.Root().Writer, "it knows no gateways")
		return err
	}
	return terminal.Table(cmd.Root().Writer, func(w io.Writer) {
		fmt.Fprintln(w, "NODE ID\tENDPOINT\tREALM")
		for _, g := range list {
			e := endpoints.Endpoint{Host: g.Host, Port: uint16(g.Port)}
			fmt.Fprintf(w, "%s\t%s\t%s\n", idText(g.NodeID), terminal.Legible(e.String()), terminal.Legible(g.Realm))
		}
	})
}
