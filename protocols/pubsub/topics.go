package pubsub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/internal/fair"
	"github.com/macula-mesh/macula-node/internal/logs"
	"github.com/macula-mesh/macula-node/protocols/internal/announce"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
	"github.com/macula-mesh/macula-node/protocols/pubsub/internal/backlog"
	"github.com/macula-mesh/macula-node/protocols/pubsub/internal/interest"
	"github.com/macula-mesh/macula-node/protocols/pubsub/internal/recent"
	"github.com/macula-mesh/macula-node/protocols/pubsub/internal/trie"
)

// Topics are those of one service: who has subscribed here, and elsewhere. They are safe
// for concurrent use.
type Topics struct {
	service *maculadht.Service
	self    routing.ID
	cfg     config
	log     *slog.Logger
	clients *server.PerPeer[client]

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup
	close  func() error

	announcer *announce.Announcer
	interests *interest.Interests
	senders   *senders
	cache     *recent.Cache[topic]
	count     counters
	ages      atomic.Uint64           // of subscribers
	held      *backlog.Room[*message] // until it is known whom they have to be sent
	watched   atomic.Int64            // subscriptions to key topics
	version   atomic.Uint64           // counts the changes of what follows

	mu            sync.Mutex // after topic.mu
	closed        bool
	patterns      trie.Trie[*subscriber]
	subscriptions int                 // of this program
	places        *fair.Queue[*entry] // those of others, by whose they are
	muted         map[muting]int
	apps          map[*Subscription]struct{}
	keys          map[string][]*subscriber // of key topics
}

// New has a service take part in topics: it handles SUBSCRIBE, UNSUBSCRIBE, PUBLISH and
// PUBSUB_ROUTE on its mux. A service has one Topics in its life: a second New fails with
// server.ErrHandled. Close it before the service.
func New(service *maculadht.Service, opts ...Option) (*Topics, error) {
	if service == nil {
		return nil, errors.New("pubsub: no service")
	}
	cfg := config{limits: DefaultLimits(), log: logs.Logger("pubsub"), tracer: noTracer{}}
	for _, opt := range opts {
		if opt == nil {
			return nil, errors.New("pubsub: a nil option")
		}
		if err := opt(&cfg); err != nil {
			return nil, fmt.Errorf("pubsub: %w", err)
		}
	}
	t := &Topics{
		service: service, self: service.Routing().Self(), cfg: cfg, log: cfg.log,
		muted: make(map[muting]int), apps: make(map[*Subscription]struct{}),
		keys: make(map[string][]*subscriber), places: fair.New[*entry](cfg.limits.Subscriptions, fair.Unlimited), count: counters{dropped: newDrops()},
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.close = sync.OnceValue(t.shutdown)
	t.clients = server.NewPerPeer(t.newClient)
	t.cache = recent.New(cfg.limits.Topics, t.newTopic)
	t.interests = interest.New(interest.Config{
		Service: service, Names: cfg.limits.Topics, Lookups: cfg.limits.Lookups, LookupsRate: cfg.limits.LookupsRate,
		Spawn: t.spawn,
	})
	t.senders = t.newSenders()
	t.held = backlog.NewRoom[*message](cfg.limits.WaitingBytes, cfg.limits.Waiting)
	t.announcer = announce.New(announce.Config{
		Advertise: service.AdvertiseSubscription,
		Names:     cfg.limits.Names, NamesPerSource: cfg.limits.NamesPerSource,
		Rate: cfg.limits.NamesRate, Burst: cfg.limits.NamesBurst, Log: cfg.log,
	})
	service.Routing().Records().SetOnChange(t.keyChanged)
	if err := t.register(); err != nil {
		return nil, errors.Join(fmt.Errorf("pubsub: %w", err), t.Close())
	}
	return t, nil
}

// Close ends all subscriptions, tells others that they need not send anything any more,
// and sends what waits to be sent, for 2 s at most. Frames that come later are dropped.
// Further calls do nothing.
func (t *Topics) Close() error { return t.close() }

func (t *Topics) shutdown() error {
	t.mu.Lock()
	t.closed = true
	apps := make([]*Subscription, 0, len(t.apps))
	for s := range t.apps {
		apps = append(apps, s)
	}
	t.mu.Unlock()
	t.service.Routing().Records().SetOnChange(nil)
	t.senders.drain()
	_ = t.announcer.Close() // what is not withdrawn lives until its ttl is over
	for _, s := range apps {
		s.Close()
	}
	t.cancel()
	t.tasks.Wait()
	return nil
}

// spawn runs f in a goroutine that Close waits for, whose context ends then. It reports
// false where that is under way.
func (t *Topics) spawn(f func(context.Context)) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.tasks.Go(func() { f(t.ctx) })
	return true
}

func (t *Topics) isClosed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.closed
}

// Publish publishes bytes under a topic of 1 to 255 bytes; Erlang clients take them for
// JSON text where they look like it. See PublishValue.
func (t *Topics) Publish(ctx context.Context, topic string, payload []byte) error {
	return t.PublishValue(ctx, topic, wire.RawBytes(payload))
}

// PublishValue publishes one MessagePack value, whose texts travel as bin, under a topic
// of 1 to 255 bytes. It does not wait: who has subscribed here has the message in the
// queue when it returns, who has elsewhere is sent it in the background, once it is known
// who that is. Nobody says whether it arrived. Messages of one program leave in the order
// in which it published them, and arrive so under one topic; where a queue is full its
// oldest are dropped. The error is [proto.ErrInvalidRequest] for what can not be
// published, [proto.ErrClosed], or that of ctx.
func (t *Topics) PublishValue(ctx context.Context, topic string, value wire.Raw) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := checkName("topic", topic); err != nil {
		return err
	}
	if isKeyTopic(topic) {
		return fmt.Errorf("%w: topic %q: what begins with %s is told by the holders of keys alone", proto.ErrInvalidRequest, topic, keyTopics)
	}
	value, err := checkValue(value)
	if err != nil {
		return fmt.Errorf("%w: %w", proto.ErrInvalidRequest, err)
	}
	m, err := newMessage(topic, value)
	if err != nil {
		return fmt.Errorf("%w: %w", proto.ErrInvalidRequest, err)
	}
	if len(m.publish) > maxRouted {
		return fmt.Errorf("%w: a message of %d bytes, at most %d", proto.ErrInvalidRequest, len(m.publish), maxRouted)
	}
	if t.isClosed() {
		return proto.ErrClosed
	}
	t.count.published.Add(1)
	t.cfg.tracer.Published(false)
	t.cache.Get(topic).publish(m, true)
	return nil
}

// maxRouted is how long a PUBLISH may be for a PUBSUB_ROUTE to have room for it, in bytes.
const maxRouted = wire.MaxPayload - 2<<10

// Subscribe subscribes to a topic, or to a pattern: segments lie between ".", "*" stands
// for any one, "**" for none or more, anywhere. It has 1 to 255 bytes; at most 16 segments
// with a "*", and 10 with "**", which is there twice at most. The subscription ends with
// ctx, or when it is closed. The error is [proto.ErrInvalidRequest], [proto.ErrClosed] or
// ErrTooMany.
func (t *Topics) Subscribe(ctx context.Context, pattern string) (*Subscription, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := checkPattern(pattern); err != nil {
		return nil, err
	}
	s := &Subscription{topics: t, entry: &entry{pattern: pattern}, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	s.entry.subscriber = &subscriber{app: s, age: t.ages.Add(1)}
	s.entry.told = t.tell(pattern, fair.Payer{}) // before Close may end it
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		t.announcer.Unwant(s.entry.told)
		return nil, proto.ErrClosed
	}
	t.apps[s] = struct{}{}
	t.mu.Unlock()
	if !t.enter(s.entry) {
		s.Close()
		if t.isClosed() {
			return nil, proto.ErrClosed
		}
		return nil, ErrTooMany
	}
	s.mu.Lock()
	s.stop = context.AfterFunc(ctx, s.Close)
	s.mu.Unlock()
	return s, nil
}

// ErrTooMany: this program has as many subscriptions as it may, see Limits.Subscriptions.
var ErrTooMany = errors.New("too many subscriptions")
