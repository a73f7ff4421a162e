package ask

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/flags"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/settings"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/terminal"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/node"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/signed"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

// MeshFlags say where a short-lived peer enters the network.
func MeshFlags() []cli.Flag {
	return []cli.Flag{
		settings.Saying("bootstrap", "`MULTIADDR` with /p2p of a peer to begin at; repeatable, or with commas between; https:// endpoints are passed over (default: the node that runs on the data directory)"),
		Realm(),
	}
}

// Realm names the realm that is asked in.
func Realm() cli.Flag {
	return settings.Saying("realm", "`NAME` of the realm")
}

// Mesh is a peer that lives as long as a command: it asks, and nobody lists it.
type Mesh struct {
	Server  *routing.Server
	Network routing.Network
	Lookups *lookup.Lookups
}

// NamesPeers reports whether a command names peers to begin at: else it means the node that
// runs on its data directory.
func NamesPeers(cmd *cli.Command) (bool, error) {
	peers, _, err := bootstrapPeers(cmd)
	return len(peers) > 0, err
}

// InMesh runs f in the network that the command's bootstrap peers are in.
func InMesh(ctx context.Context, cmd *cli.Command, observe func(lookup.Hop), f func(context.Context, *Mesh) error) error {
	peers, texts, err := bootstrapPeers(cmd)
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, cmd.Duration("timeout"))
	defer cancel()
	realm := cmd.String("realm")
	h, client, closeBoth, err := newClient(cmd.Duration("timeout"), connecting(realm))
	if err != nil {
		return err
	}
	defer closeBoth()
	server, err := routing.NewServer(routing.IDFromPeer(h.ID()))
	if err != nil {
		return err
	}
	defer server.Close()
	entry := entry{ctx: ctx, host: h, client: client, server: server, realm: realm, timeout: cmd.Duration("timeout")}
	status := terminal.NewStatus(cmd)
	status.Show("connecting to %s", terminal.Plural(len(peers), "bootstrap peer"))
	failed := entry.through(limited, texts, peers)
	status.Clear()
	if len(failed) > 0 && len(failed) == len(texts) {
		return errors.Join(failed...)
	}
	for _, err := range failed {
		fmt.Fprintf(cmd.Root().ErrWriter, "macula-node: %s\n", terminal.Legible(err.Error()))
	}
	lookups, err := lookup.New(server, client, lookup.WithObserver(observe), lookup.WithVerifier(signed.NewVerifier(realm)))
	if err != nil {
		return err
	}
	return f(limited, &Mesh{Server: server, Network: client, Lookups: lookups})
}

// bootstrapPeers returns the libp2p peers that the command names. Endpoints of
// gateways are passed over: one list serves run too.
func bootstrapPeers(cmd *cli.Command) (peers []*peer.AddrInfo, texts []string, err error) {
	named := flags.Trimmed(cmd.StringSlice("bootstrap"))
	for _, text := range named {
		b, err := node.ParseBootstrap(text)
		switch {
		case err != nil:
			return nil, nil, flags.Usagef("--bootstrap %w", err)
		case b.Peer != nil:
			peers, texts = append(peers, b.Peer), append(texts, text)
		}
	}
	if len(named) > 0 && len(peers) == 0 && settings.Of(cmd).Of("bootstrap").Source == settings.FromFlag {
		return nil, nil, flags.Usagef("--bootstrap has only endpoints of Erlang gateways, such as %s: add the multiaddr with /p2p of a peer, as run prints it, or leave it out to ask the node that runs here", named[0])
	}
	return peers, texts, nil
}

// entry is how a short-lived peer gets into the network.
type entry struct {
	ctx     context.Context // an interrupt ends it
	host    host.Host
	client  *client.Client
	server  *routing.Server
	realm   string
	timeout time.Duration
}

// through tries all bootstrap peers at once, and returns why some did not let us
// in. Once one has, the others have a moment more.
func (e entry) through(ctx context.Context, texts []string, peers []*peer.AddrInfo) []error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	start := time.Now()
	var (
		tries  sync.WaitGroup
		mu     sync.Mutex
		failed []error
	)
	for i, info := range peers {
		tries.Go(func() {
			err := e.enter(ctx, contactAt(*info))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				time.AfterFunc(enterGrace, cancel)
			case ctx.Err() != nil && e.ctx.Err() == nil && len(e.server.Contacts()) > 0:
				failed = append(failed, fmt.Errorf("%s has not answered, and is not waited for", texts[i]))
			default:
				failed = append(failed, explain(e.ctx, err, attempt{texts[i], time.Since(start), e.timeout}))
			}
		})
	}
	tries.Wait()
	return failed
}

// connectOf returns the CONNECT of a peer that answers nobody.
func connectOf(p peer.ID, realm string) *wire.Connect {
	self := routing.IDFromPeer(p)
	return &wire.Connect{Version: wire.ProtocolVersion, NodeID: self[:], RealmID: realm}
}

// connecting has those asked who answer nobody before a CONNECT.
func connecting(realm string) client.Option {
	return client.WithConnect(func(over network.Conn) *wire.Connect { return connectOf(over.LocalPeer(), realm) })
}

// enterGrace is for how long other bootstrap peers are waited for once one has
// answered.
const enterGrace = time.Second

// enter introduces this peer to a bootstrap peer, which says whether it serves
// the realm, and takes it for a contact. It is not listed in return: it answers
// nobody.
func (e entry) enter(ctx context.Context, to routing.Contact) error {
	reply, err := e.client.Query(ctx, to, connectOf(e.host.ID(), e.realm))
	if err != nil {
		return err
	}
	if pong, ok := reply.(*wire.Pong); !ok || pong.RealmID != e.realm {
		return &proto.RefusedError{Reason: fmt.Sprintf("%s does not serve the realm %q", to.Peer, e.realm)}
	}
	if conns := e.host.Network().ConnsToPeer(to.Peer); len(conns) > 0 {
		to.Addrs = []ma.Multiaddr{conns[0].RemoteMultiaddr()} // a name does not tell whether it is in our own network
	}
	to.Verified, to.LastSeen = true, time.Now()
	return e.server.Admit(to)
}
