package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/node"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

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
		e, err := identity.ParsePinnedEndpoint(addr)
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
	info, err := node.ParsePeer(addr)
	if err != nil {
		return nil, usagef("ADDR %w", err)
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
func newDialer(cmd *cli.Command, e identity.PinnedEndpoint, opts ...dialer.Option) (*dialer.Dialer, error) {
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

// ask runs f against the node at addr, or the one that runs on the command's data
// directory where addr is empty, within the command's time. f may be run twice:
// what it asks does the same once more, and it prints only what came of it.
func ask(ctx context.Context, cmd *cli.Command, addr string, f func(context.Context, *target) error) error {
	if addr == "" {
		return askLocal(ctx, cmd, f)
	}
	t, err := reach(cmd, addr)
	if err != nil {
		return err
	}
	defer t.close()
	start := time.Now()
	limited, cancel := context.WithTimeout(ctx, cmd.Duration("timeout"))
	defer cancel()
	err = twice(limited, t, isErlang(addr), f)
	return explain(ctx, err, attempt{addr, time.Since(start), cmd.Duration("timeout")})
}

// twice runs f, and once more over a new connection where the first was lost.
func twice(ctx context.Context, t *target, erlang bool, f func(context.Context, *target) error) error {
	err := f(ctx, t)
	if isLost(err, erlang) && ctx.Err() == nil {
		err = f(ctx, t)
	}
	return err
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
