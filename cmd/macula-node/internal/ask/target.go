package ask

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/flags"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/settings"
	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
	"github.com/macula-mesh/macula-node/node"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// Target is the node that a command asks, and the way there.
type Target struct {
	routing.Contact
	Network routing.Network
	Realm   string // that its records are taken to be of
	close   func() error
}

// IsErlang reports whether an ADDR is an endpoint rather than a multiaddr.
func IsErlang(addr string) bool { return !strings.HasPrefix(addr, "/") }

// reach makes ready to ask the node at addr in the dialect that fits it, as a
// peer that only asks: it never CONNECTs.
func reach(cmd *cli.Command, addr string) (*Target, error) {
	if IsErlang(addr) {
		e, err := identity.ParsePinnedEndpoint(addr)
		if err != nil {
			return nil, flags.Usagef("ADDR: %w, or a multiaddr with /p2p", err)
		}
		opts := []dialer.Option{WithinTime(cmd.Duration("timeout"))}
		if cmd.Bool("force") {
			opts = append(opts, dialer.WithForcedFindNode())
		}
		d, err := NewDialer(cmd, e, opts...)
		if err != nil {
			return nil, err
		}
		return &Target{Contact: routing.Contact{Endpoint: e.String()}, Network: d, Realm: cmd.String("realm"), close: d.Close}, nil
	}
	info, err := node.ParsePeer(addr)
	if err != nil {
		return nil, flags.Usagef("ADDR %w", err)
	}
	_, c, closeBoth, err := newClient(cmd.Duration("timeout"))
	if err != nil {
		return nil, err
	}
	return &Target{
		Contact: contactAt(*info),
		Network: c,
		Realm:   cmd.String("realm"),
		close:   closeBoth,
	}, nil
}

// NewDialer returns a dialer to an endpoint, which accepts what the command's TLS
// flags and the endpoint's pin say.
func NewDialer(cmd *cli.Command, e identity.PinnedEndpoint, opts ...dialer.Option) (*dialer.Dialer, error) {
	accepted, err := settings.TLSPolicy(cmd).Dialling()
	if err != nil {
		return nil, flags.Usage(err)
	}
	return dialer.New(append(opts, dialer.WithTLS(accepted), dialer.WithPins(e))...)
}

// WithinTime sets how long a handshake and a reply may take.
func WithinTime(d time.Duration) dialer.Option {
	limits := dialer.DefaultLimits()
	limits.DialTimeout, limits.ReplyTimeout = d, d
	return dialer.WithLimits(limits)
}

// newClient returns a host that only dials, and a client on it.
func newClient(timeout time.Duration, opts ...client.Option) (host.Host, *client.Client, func() error, error) {
	h, err := libp2p.New(libp2p.NoListenAddrs, libp2p.Transport(libp2pquic.NewTransport), libp2p.EnableRelay())
	if err != nil {
		return nil, nil, nil, err
	}
	limits := client.DefaultLimits()
	limits.Timeout = timeout
	c, err := client.New(h, append(opts, client.WithLimits(limits))...)
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

// Node runs f against the node at addr, within the command's time. f may be run twice:
// what it asks does the same once more, and it prints only what came of it.
func Node(ctx context.Context, cmd *cli.Command, addr string, f func(context.Context, *Target) error) error {
	t, err := reach(cmd, addr)
	if err != nil {
		return err
	}
	defer t.close()
	start := time.Now()
	limited, cancel := context.WithTimeout(ctx, cmd.Duration("timeout"))
	defer cancel()
	err = twice(limited, t, IsErlang(addr), f)
	if u, err := url.Parse(addr); err == nil && t.Endpoint != "" && u.Port() == "" {
		addr = fmt.Sprintf("%s (%s names no port, which is %d then)", t.Endpoint, addr, endpoints.DefaultPort)
	}
	return explain(ctx, err, attempt{addr, time.Since(start), cmd.Duration("timeout")})
}

// twice runs f, and once more over a new connection where the first was lost.
func twice(ctx context.Context, t *Target, erlang bool, f func(context.Context, *Target) error) error {
	err := f(ctx, t)
	if isLost(err, erlang) && ctx.Err() == nil {
		err = f(ctx, t)
	}
	return err
}

// Flags are those of every command that asks.
func Flags(more ...cli.Flag) []cli.Flag {
	return append(settings.TLS(more...), flags.Timeout(10*time.Second), flags.JSON())
}
