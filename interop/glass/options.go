package glass

import (
	"crypto/tls"
	"net"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire/procedures"
)

// What a gateway is unless an option says otherwise. The times are the
// reference's.
const (
	DefaultRealm         = "macula.default"
	DefaultRegisterAfter = 3 * time.Second
	DefaultPingEvery     = 30 * time.Second
	DefaultPollEvery     = 30 * time.Second
	DefaultDiscoverEvery = 5 * time.Second
	DefaultPeerTimeout   = 5 * time.Second
	DefaultMissLimit     = 10 * time.Second
	DefaultEventLimit    = 64 << 10
	DefaultEventGap      = 100 * time.Millisecond

	DefaultRestartAfter   = 500 * time.Millisecond
	DefaultReconnects     = 2
	DefaultReconnectAfter = 5 * time.Second
	DefaultTTL            = 300 * time.Second
	DefaultFindEvery      = 30 * time.Second
)

// What the reference does not let be set.
const (
	renewBefore  = 60 * time.Second // before a record's ttl has passed
	callTimeout  = 5 * time.Second  // of macula:call, and of the lookup before it
	topicFresh   = 5 * time.Second  // how long a topic's records are kept in mind
	topicEvery   = 2 * time.Second  // how often a topic is looked up at most
	repeatAfter  = 5 * time.Second  // a PUBLISH of QoS 1 or 2
	maxReconnect = 256              // connections of a client, before it breaks
)

// StreamCredit is how many streams at a time a connection is granted.
const StreamCredit = 100

type config struct {
	address       string
	realm         string
	nodeID        []byte
	registerAfter time.Duration
	pingEvery     time.Duration
	pollEvery     time.Duration
	discoverEvery time.Duration
	peerTimeout   time.Duration
	missTakes     time.Duration
	missLimit     time.Duration
	eventLimit    int
	eventGap      time.Duration
	restartAfter  time.Duration
	reconnects    int
	reconnectIn   time.Duration
	ttl           time.Duration
	crashLimit    int
	crashWithin   time.Duration
	parents       []parent
	neighbours    []procedures.Gateway
	tls           *tls.Config
	network       func(address string) (net.PacketConn, error)

	rawIDs     bool // what follows is of other versions than 0.20.3
	ipv4Only   bool
	findEvery  time.Duration
	perSource  int
	perSecond  int
	sourceTime time.Duration
}

// parent is a node that this one bootstrapped from.
type parent struct {
	endpoint string
	id       []byte
}

// Option sets a detail of a Gateway.
type Option func(*config)

// Listen sets the UDP address, such as "[::1]:0". Without it the gateway takes
// a free port of 127.0.0.1.
func Listen(address string) Option { return func(c *config) { c.address = address } }

// ServeTLS sets the TLS configuration that it serves with, whose first certificate
// is then its own. Without it that is a self-signed one, made at the start.
func ServeTLS(conf *tls.Config) Option { return func(c *config) { c.tls = conf } }

// Realm sets the realm that it serves.
func Realm(realm string) Option { return func(c *config) { c.realm = realm } }

// NodeID sets the id in its PONG, 32 bytes. Without it that is a digest of its
// endpoint. As a client a node has another one, see [Gateway.ClientID].
func NodeID(id []byte) Option { return func(c *config) { c.nodeID = id } }

// RegisterAfter sets how long after its start, or a crash, it registers itself,
// so that _dht.list_gateways shows it. A negative time is never. A node that
// bootstraps polls for the first time after as long.
func RegisterAfter(d time.Duration) Option { return func(c *config) { c.registerAfter = d } }

// BootstrappedFrom makes it a node that knows another one as its bootstrap
// node: it asks that one on a miss, and crashes where FIND_NODE would return it.
func BootstrappedFrom(endpoint string, id []byte) Option {
	return func(c *config) { c.parents = append(c.parents, parent{endpoint, id}) }
}

// Neighbours registers other gateways with it, from the start.
func Neighbours(list ...procedures.Gateway) Option {
	return func(c *config) { c.neighbours = append(c.neighbours, list...) }
}

// MissTakes adds to how long a FIND_VALUE miss keeps it busy, as peers that it
// asks would.
func MissTakes(d time.Duration) Option { return func(c *config) { c.missTakes = d } }

// MissLimit sets how long a miss may take before the gateway crashes.
func MissLimit(d time.Duration) Option { return func(c *config) { c.missLimit = d } }

// PeerTimeout sets how long it waits for a peer that it asks.
func PeerTimeout(d time.Duration) Option { return func(c *config) { c.peerTimeout = d } }

// ClientTimes sets how often a node that has bootstrapped pings, and how often
// it asks for gateways.
func ClientTimes(pingEvery, pollEvery time.Duration) Option {
	return func(c *config) { c.pingEvery, c.pollEvery = pingEvery, pollEvery }
}

// DiscoverEvery sets how often its discovery looks at the gateways registered
// with it, and crashes if one was registered from outside.
func DiscoverEvery(d time.Duration) Option { return func(c *config) { c.discoverEvery = d } }

// Events sets how many bytes a receive event can hold, and for how long a frame
// that was cut into packets may make a pause and still be one event. The
// reference takes frames of 20 kB, fails with longer ones now and then, and
// with 80 kB always.
func Events(limit int, gap time.Duration) Option {
	return func(c *config) { c.eventLimit, c.eventGap = limit, gap }
}

// Network makes it open its port by a function, as in a simulated network,
// with which all of its times can be virtual. The address is that of [Listen],
// after a restart the one that it had.
func Network(listen func(address string) (net.PacketConn, error)) Option {
	return func(c *config) { c.network = listen }
}

// RestartAfter sets how long [Gateway.Restart] leaves it down.
func RestartAfter(d time.Duration) Option { return func(c *config) { c.restartAfter = d } }

// Reconnects sets how many reconnects each ended stream of a session schedules,
// and when. The reference has 2 to 4 of them, each after 5 s.
func Reconnects(n int, after time.Duration) Option {
	return func(c *config) { c.reconnects, c.reconnectIn = n, after }
}

// TTL sets the ttl of what its clients advertise and subscribe to; they do so
// anew 60 s before it has passed, or after half of it where it is shorter than
// 2 min.
func TTL(d time.Duration) Option { return func(c *config) { c.ttl = d } }

// CrashLimit makes it hang once its gateway process has crashed n times within
// a time. The reference's supervisor ends at 10 in 60 s; without this option it
// never does.
func CrashLimit(n int, within time.Duration) Option {
	return func(c *config) { c.crashLimit, c.crashWithin = n, within }
}
