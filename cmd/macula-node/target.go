package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

func peerID(key crypto.PrivKey) (peer.ID, error) { return peer.IDFromPrivateKey(key) }

// target is the node that a command asks, and the way there.
type target struct {
	routing.Contact
	network routing.Network
	close   func() error
}

// isErlang reports whether an ADDR is an endpoint rather than a multiaddr.
func isErlang(addr string) bool { return !strings.HasPrefix(addr, "/") }

// reach makes ready to ask the node at addr in the dialect that fits it, as a
// peer that only asks: it never CONNECTs.
func reach(cmd *cli.Command, addr string) (*target, error) {
	if isErlang(addr) {
		e, err := dialer.ParsePinnedEndpoint(addr)
		if err != nil {
			return nil, usagef("ADDR: %w, or a multiaddr with /p2p", err)
		}
		opts := []dialer.Option{withinTime(cmd.Duration("timeout"))}
		if cmd.Bool("force") {
			opts = append(opts, dialer.WithForcedFindNode())
		}
		d, err := newDialer(cmd, e, opts...)
		if err != nil {
			return nil, err
		}
		return &target{Contact: routing.Contact{Endpoint: e.String()}, network: d, close: d.Close}, nil
	}
	info, err := parsePeer(addr)
	if err != nil {
		return nil, err
	}
	_, c, closeBoth, err := newClient(cmd.Duration("timeout"))
	if err != nil {
		return nil, err
	}
	return &target{
		Contact: contactAt(*info),
		network: c,
		close:   closeBoth,
	}, nil
}

// newDialer returns a dialer to an endpoint, which accepts what the command's TLS
// flags and the endpoint's pin say.
func newDialer(cmd *cli.Command, e dialer.PinnedEndpoint, opts ...dialer.Option) (*dialer.Dialer, error) {
	policy, err := tlsPolicy(cmd)
	if err != nil {
		return nil, err
	}
	accepted, err := policy.Dialling()
	if err != nil {
		return nil, usageError{err}
	}
	return dialer.New(append(opts, dialer.WithTLS(accepted), dialer.WithPins(e))...)
}

// withinTime sets how long a handshake and a reply may take.
func withinTime(d time.Duration) dialer.Option {
	limits := dialer.DefaultLimits()
	limits.DialTimeout, limits.ReplyTimeout = d, d
	return dialer.WithLimits(limits)
}

// newClient returns a host that only dials, and a client on it.
func newClient(timeout time.Duration) (host.Host, *client.Client, func() error, error) {
	h, err := libp2p.New(libp2p.NoListenAddrs, libp2p.Transport(libp2pquic.NewTransport), libp2p.EnableRelay())
	if err != nil {
		return nil, nil, nil, err
	}
	limits := client.DefaultLimits()
	limits.Timeout = timeout
	c, err := client.New(h, client.WithLimits(limits))
	if err != nil {
		return nil, nil, nil, errors.Join(err, h.Close())
	}
	return h, c, func() error { return errors.Join(c.Close(), h.Close()) }, nil
}

// contactAt returns the contact that an address names.
func contactAt(info peer.AddrInfo) routing.Contact {
	id := routing.IDFromPeer(info.ID)
	return routing.Contact{ID: id, NodeID: id[:], Peer: info.ID, Addrs: info.Addrs}
}

// parsePeer reads the multiaddr of a peer that can be reached by QUIC.
func parsePeer(addr string) (*peer.AddrInfo, error) {
	info, err := peer.AddrInfoFromString(addr)
	switch {
	case errors.Is(err, peer.ErrInvalidAddr):
		return nil, usagef("ADDR %q does not say who is there: add /p2p/ and the peer id, as in what run prints, or write https://host:port", addr)
	case err != nil:
		return nil, usagef("ADDR %q is not a multiaddr with /p2p, nor https://host:port: %w", addr, err)
	case len(info.Addrs) == 0:
		return nil, usagef("ADDR %q does not say where the peer is: write for example /ip4/192.0.2.7/udp/9443/quic-v1%s", addr, addr)
	}
	for _, a := range info.Addrs {
		for _, component := range a {
			if code := component.Code(); code == ma.P_QUIC_V1 || code == ma.P_CIRCUIT {
				return info, nil
			}
		}
	}
	return nil, usagef("ADDR %q is not a QUIC address: write for example /ip4/192.0.2.7/udp/9443/quic-v1/p2p/%s", addr, info.ID)
}

// ask runs f against the node at the command's first argument, within the
// command's time. f may be run twice: what it asks does the same once more, and
// it prints only what came of it.
func ask(ctx context.Context, cmd *cli.Command, f func(context.Context, *target) error) error {
	t, err := reach(cmd, cmd.Args().First())
	if err != nil {
		return err
	}
	defer t.close()
	start := time.Now()
	limited, cancel := context.WithTimeout(ctx, cmd.Duration("timeout"))
	defer cancel()
	err = f(limited, t)
	if isLost(err, isErlang(cmd.Args().First())) && limited.Err() == nil {
		err = f(limited, t) // over a new connection
	}
	return explain(ctx, err, attempt{cmd.Args().First(), time.Since(start), cmd.Duration("timeout")})
}

// askFlags are those of every command that asks.
func askFlags(more ...cli.Flag) []cli.Flag {
	return append(tlsFlags(more...), timeoutFlag(10*time.Second), jsonFlag())
}

func timeoutFlag(usual time.Duration) cli.Flag {
	return &cli.DurationFlag{Name: "timeout", Usage: "how long all of it may take", Value: usual,
		Validator: func(d time.Duration) error {
			if d <= 0 {
				return usagef("want more than 0, got %v", d)
			}
			return nil
		}}
}

// keyFlags name a key by what it is the hash of.
func keyFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "service", Usage: "the key is the SHA-256 of this service's `NAME`"},
		&cli.StringFlag{Name: "topic", Usage: "the key is the SHA-256 of this topic's `NAME`"},
	}
}

const keyHelp = `A KEY is 64 hexadecimal digits, or a text that is taken as it is; --service NAME
and --topic NAME stand for one.`

// splitArgs returns ADDR's followers: the key, given by a flag or as the first
// of them, and the others, of which there must be as many as names.
func splitArgs(cmd *cli.Command, names ...string) (key []byte, rest []string, err error) {
	args := cmd.Args().Slice()
	if len(args) == 0 {
		return nil, nil, usagef("ADDR is missing; %s", usageOf(cmd))
	}
	return splitKey(cmd, args[1:], names...)
}

func usageOf(cmd *cli.Command) string { return "usage: " + cmd.FullName() + " " + cmd.ArgsUsage }

// splitKey is splitArgs without an ADDR.
func splitKey(cmd *cli.Command, rest []string, names ...string) (key []byte, others []string, err error) {
	service, topic := cmd.String("service"), cmd.String("topic")
	usage := usageOf(cmd)
	if service != "" && topic != "" {
		return nil, nil, usagef("--service and --topic are two keys; %s", usage)
	}
	if name := service + topic; name != "" {
		sum := sha256.Sum256([]byte(name))
		key = sum[:]
	} else {
		if len(rest) == 0 {
			return nil, nil, usagef("KEY is missing; %s", usage)
		}
		if key, err = parseKey(rest[0]); err != nil {
			return nil, nil, err
		}
		rest = rest[1:]
	}
	if len(rest) < len(names) {
		return nil, nil, usagef("%s is missing; %s", names[len(rest)], usage)
	}
	if len(rest) > len(names) {
		return nil, nil, usagef("%q is one argument too many; %s", rest[len(names)], usage)
	}
	return key, rest, nil
}

func parseKey(text string) ([]byte, error) {
	if key, err := hex.DecodeString(text); err == nil && len(key) == sha256.Size {
		return key, nil
	}
	if text == "" || len(text) > wire.MaxField {
		return nil, usagef("KEY of %d bytes: want 1 to %d", len(text), wire.MaxField)
	}
	return []byte(text), nil
}
