package glass

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"math/big"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
)

// ALPN is the application protocol that Erlang nodes speak on QUIC.
const ALPN = "macula"

// Gateway is the double of an Erlang node. Close it.
type Gateway struct {
	cfg      config
	cert     tls.Certificate
	clientID string
	endpoint string
	host     string
	port     int
	buffers  sync.Pool // of one receive event

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup
	close  func() error

	turn    turn          // its gateway process does one thing at a time
	routing turn          // and so does its routing server, for which that waits
	broken  chan struct{} // closed with the first break

	mu       sync.Mutex // guards what follows
	line     line       // another one after a restart
	closed   bool
	hung     bool
	breaks   []Break
	crashes  []time.Time // of its gateway process
	register *time.Timer
	sessions []*Session // that have not ended
	store
	clients
	admission
	ledger
	hooks
	outbound
}

// Start starts a gateway.
func Start(opts ...Option) (*Gateway, error) {
	g := &Gateway{
		cfg: config{
			address:       "127.0.0.1:0",
			realm:         DefaultRealm,
			registerAfter: DefaultRegisterAfter,
			pingEvery:     DefaultPingEvery,
			pollEvery:     DefaultPollEvery,
			discoverEvery: DefaultDiscoverEvery,
			peerTimeout:   DefaultPeerTimeout,
			missLimit:     DefaultMissLimit,
			eventLimit:    DefaultEventLimit,
			eventGap:      DefaultEventGap,
			restartAfter:  DefaultRestartAfter,
			reconnects:    DefaultReconnects,
			reconnectIn:   DefaultReconnectAfter,
			ttl:           DefaultTTL,
		},
		turn:     newTurn(),
		routing:  newTurn(),
		broken:   make(chan struct{}),
		ledger:   newLedger(),
		hooks:    hooks{held: make(map[wire.Type]chan struct{})},
		outbound: outbound{pool: make(map[string]*pooled), mesh: make(map[string]*pooled)},
	}
	for _, opt := range opts {
		opt(&g.cfg)
	}
	if g.cfg.pingEvery <= 0 || g.cfg.pollEvery <= 0 || g.cfg.discoverEvery <= 0 || g.cfg.eventLimit < framing.HeaderSize {
		return nil, fmt.Errorf("glass: ping every %v, poll every %v, discover every %v, events of %d bytes: want more",
			g.cfg.pingEvery, g.cfg.pollEvery, g.cfg.discoverEvery, g.cfg.eventLimit)
	}
	g.buffers.New = func() any { b := make([]byte, g.cfg.eventLimit); return &b }
	g.close = sync.OnceValue(g.shutdown)
	if err := g.identify(); err != nil {
		return nil, fmt.Errorf("glass: certificate: %w", err)
	}
	l, err := g.listen(g.cfg.address)
	if err != nil {
		return nil, fmt.Errorf("glass: listen on %s: %w", g.cfg.address, err)
	}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	g.host, g.port = l.addr.IP.String(), l.addr.Port
	g.endpoint = endpoints.At(l.addr.AddrPort()).String()
	if g.cfg.nodeID == nil {
		id := sha256.Sum256([]byte(g.endpoint))
		g.cfg.nodeID = id[:]
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.begin(l)
	g.tasks.Go(g.discover)
	return g, nil
}

// begin is a start with an empty memory, on what was opened for it; g.mu is held.
func (g *Gateway) begin(l line) {
	g.line = l
	g.hung = false
	g.parents = g.cfg.parents
	g.forget()
	for _, n := range g.cfg.neighbours {
		g.put(wire.RawText(wire.GatewayPrefix+string(n.NodeID)), entry(n))
	}
	g.registerLater()
	g.tasks.Go(func() { g.accept(l.listener) })
}

// identify makes the certificate, unless it was given one, and the client id that
// comes of it.
func (g *Gateway) identify() error {
	if g.cfg.tls == nil {
		cert, err := selfSigned()
		if err != nil {
			return err
		}
		g.cfg.tls = &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{ALPN}, MinVersion: tls.VersionTLS13}
	}
	g.cert = g.cfg.tls.Certificates[0]
	leaf, err := x509.ParseCertificate(g.cert.Certificate[0])
	if err != nil {
		return err
	}
	var key struct {
		Algorithm pkix.AlgorithmIdentifier
		Bits      asn1.BitString
	}
	if _, err := asn1.Unmarshal(leaf.RawSubjectPublicKeyInfo, &key); err != nil {
		return err
	}
	sum := sha256.Sum256(key.Bits.Bytes)
	g.clientID = hex.EncodeToString(sum[:])
	return nil
}

func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// Endpoint returns where it listens: "https://host:port".
func (g *Gateway) Endpoint() string { return g.endpoint }

// Addr returns the UDP address on which it listens.
func (g *Gateway) Addr() *net.UDPAddr {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.line.addr
}

// ClientID returns the id under which the node names itself in its own entry, in
// CONNECT and in what it stores: the SHA-256 of its certificate's public key
// bits, 64 hexadecimal digits.
func (g *Gateway) ClientID() string { return g.clientID }

// NodeID returns the id in its PONG, which is another one.
func (g *Gateway) NodeID() []byte { return g.cfg.nodeID }

// Certificate returns the certificate that it shows.
func (g *Gateway) Certificate() tls.Certificate { return g.cert }

// Close stops it as a node is stopped: those who connected are told nothing.
// The connections that it dialled are closed with code 0, and its sessions end.
// Further calls return what the first did.
func (g *Gateway) Close() error { return g.close() }

func (g *Gateway) shutdown() error {
	g.cancel()
	g.mu.Lock()
	g.closed = true
	if g.register != nil {
		g.register.Stop()
	}
	dialled := slices.Clone(g.kept)
	l := g.line
	g.mu.Unlock()
	for _, c := range dialled {
		c.CloseWithError(0, "")
	}
	err := l.close()
	g.tasks.Wait()
	return err
}

// spawn runs f in a goroutine that Close waits for, unless it is closed.
func (g *Gateway) spawn(f func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.tasks.Go(f)
	}
	return !g.closed
}

// pause waits, and reports whether the context still lives then.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
