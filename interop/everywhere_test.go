package interop

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/internal/datadir"
	"github.com/macula-mesh/macula-node/interop/glass"
	"github.com/macula-mesh/macula-node/node"
	"github.com/macula-mesh/macula-node/node/api/client"
	"github.com/macula-mesh/macula-node/node/api/schema"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/pubsub"
	"github.com/macula-mesh/macula-node/protocols/rpc"
)

const everywhereTopic = testRealm + ".public.fleet.truck"

// place is somewhere in a mesh where somebody publishes, subscribes, calls and serves.
type place struct {
	name    string
	publish func(payload string) error
	got     func() []string // what has come
	call    func(procedure, args string) (result string, err error)
	// unordered says that what is sent to it, or by it, comes in any order.
	unordered bool
}

// inbox gathers what somebody is sent.
type inbox struct {
	mu  sync.Mutex
	all []string
}

func (b *inbox) add(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all = append(b.all, text)
}

func (b *inbox) got() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.all)
}

// everywhere is a mesh of two macula-nodes beside an Erlang gateway: left is a process, that
// can be killed. Erlang clients are at both, and a program is on a bare host.
type everywhere struct {
	gateway     *glass.Gateway
	vms         []*glass.Gateway
	left        *member
	right       *node.Node
	places      map[string]*place
	atLeft      *glass.Session
	leftApp     func() *client.Client
	subscribing func() (end func()) // has the program at left subscribe, once it runs
}

func newEverywhere(t *testing.T) *everywhere {
	e := &everywhere{gateway: startGlass(t), places: make(map[string]*place)}
	e.right = startNode(t, e.gateway.Endpoint())
	joined(t, e.right, e.gateway)
	e.left = &member{name: "left", dataDir: t.TempDir(), flags: []string{"--realm", testRealm, "--log-level", "error",
		"--bootstrap", e.right.Addrs()[0].String() + "," + e.gateway.Endpoint()}}
	e.left.start(t)
	e.leftApp = func() *client.Client {
		r, err := datadir.RunningIn(e.left.dataDir)
		require.NoError(t, err)
		return client.New(r.Socket)
	}

	var atLeft inbox
	e.subscribing = func() (end func()) {
		ctx, cancel := context.WithCancel(context.Background())
		subscribed, ended := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			for m, err := range e.leftApp().Subscribe(ctx, everywhereTopic, func() { close(subscribed) }) {
				if err != nil {
					return
				}
				text, _ := m.Value.Bytes()
				atLeft.add(string(text))
			}
		}()
		<-subscribed
		return func() { cancel(); <-ended }
	}
	e.places["program at left"] = &place{
		publish: func(p string) error { return e.leftApp().Publish(inTime(t), everywhereTopic, []byte(p)) },
		got:     atLeft.got,
		call: func(procedure, args string) (string, error) {
			var value schema.Value
			if err := value.UnmarshalJSON([]byte(args)); err != nil {
				return "", err
			}
			answer, err := e.leftApp().Call(inTime(t), schema.CallRequest{Procedure: procedure, Args: value})
			if err == nil && answer.Error != nil {
				err = answer.Error
			}
			if err != nil {
				return "", err
			}
			text, err := answer.Result.MarshalJSON()
			return string(text), err
		},
	}
	e.places["program at right"] = programOf(t, e.right.Topics(), e.right.Calls(), everywhereTopic)
	e.places["program on a bare host"] = bareProgram(t, e.right)
	e.atLeft = e.erlang(t, "client at left", e.left.Endpoints[0], everywhereTopic)
	e.erlang(t, "client at right", e.right.Endpoint(), testRealm+".*.fleet.**")
	e.gateway.Subscribe(everywhereTopic)
	e.places["Erlang gateway"] = &place{
		publish: func(p string) error {
			e.gateway.Publish(glass.Publication{Topic: everywhereTopic, Payload: wire.RawText(p)})
			return nil
		},
		got: func() (all []string) {
			for _, p := range e.gateway.Got() {
				text, _ := p.Payload.Bytes()
				all = append(all, string(text))
			}
			return all
		},
		unordered: true,
	}
	for name, p := range e.places {
		p.name = name
	}
	return e
}

// programOf is one in this process, which has subscribed and serves.
func programOf(t *testing.T, topics *pubsub.Topics, calls *rpc.Calls, pattern string) *place {
	t.Helper()
	s, err := topics.Subscribe(t.Context(), pattern)
	require.NoError(t, err)
	var in inbox
	go func() {
		for m := range s.Messages() {
			in.add(string(m.Payload()))
		}
	}()
	t.Cleanup(s.Close)
	return &place{
		publish: func(p string) error { return topics.Publish(t.Context(), everywhereTopic, []byte(p)) },
		got:     in.got,
		call: func(procedure, args string) (string, error) {
			value, err := wire.FromJSON([]byte(args))
			if err != nil {
				return "", err
			}
			result, err := calls.Call(inTime(t), procedure, value)
			if err != nil {
				return "", err
			}
			text, err := result.MarshalJSON()
			return string(text), err
		},
	}
}

func bareProgram(t *testing.T, at *node.Node) *place {
	t.Helper()
	h := newListeningPeer(t)
	s, err := maculadht.New(h, maculadht.WithRealm(testRealm))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	topics, err := pubsub.New(s)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, topics.Close()) })
	calls, err := rpc.New(s)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, calls.Close()) })
	require.NoError(t, s.Join(t.Context(), peer.AddrInfo{ID: at.Host().ID(), Addrs: at.Host().Addrs()}))
	p := programOf(t, topics, calls, everywhereTopic)
	serveEcho(t, calls, "program on a bare host")
	return p
}

// procedureAt is what is served at a place.
func procedureAt(place string) string {
	return testRealm + ".at." + strings.ReplaceAll(place, " ", "-")
}

func serveEcho(t *testing.T, calls *rpc.Calls, where string) {
	t.Helper()
	_, err := calls.Serve(t.Context(), procedureAt(where), func(_ context.Context, r *rpc.Request) (any, error) {
		return map[string]any{"at": where, "args": r.Args}, nil
	})
	require.NoError(t, err)
}

// serveEchoAt serves by the local API, as the command does, until the node ends.
func serveEchoAt(t *testing.T, c *client.Client, where string) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	served, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		_ = c.Serve(ctx, schema.ServeRequest{Procedure: procedureAt(where)}, func(call schema.ServedCall) {
			if call.ID == "" {
				close(served)
				return
			}
			args, _ := call.Args.MarshalJSON()
			var result schema.Value
			_ = result.UnmarshalJSON(fmt.Appendf(nil, `{"at":%q,"args":%s}`, where, args)) // of JSON it is JSON
			_ = c.Answer(ctx, schema.AnswerRequest{Serving: call.Serving, ID: call.ID, Result: result})
		})
	}()
	<-served
	return func() { cancel(); <-ended }
}

// erlang adds an Erlang node with a client at a gateway of ours, which has subscribed and
// serves.
func (e *everywhere) erlang(t *testing.T, name, endpoint, pattern string) *glass.Session {
	t.Helper()
	vm := startGlass(t, glass.TTL(networkTTL), glass.Reconnects(glass.DefaultReconnects, networkAgain))
	e.vms = append(e.vms, vm)
	_, err := vm.Bootstrap(inTime(t), endpoint)
	require.NoError(t, err)
	s, err := vm.Connect(inTime(t), endpoint, nil)
	require.NoError(t, err)
	require.NoError(t, s.Subscribe(pattern))
	s.Advertise(procedureAt(name))
	s.Register(procedureAt(name), func(args []byte) glass.Outcome {
		return glass.Outcome{Result: fmt.Appendf(nil, `{"at":%q,"args":%s}`, name, args)}
	})
	e.places[name] = &place{
		publish: func(p string) error {
			return s.Publish(glass.Publication{Topic: everywhereTopic, Payload: wire.RawText(p)})
		},
		got: func() (all []string) {
			for _, m := range s.Messages() {
				if p, is := m.(*wire.Publish); is {
					text, _ := p.Payload.Bytes()
					all = append(all, string(text))
				}
			}
			return all
		},
		call: func(procedure, args string) (string, error) {
			result, err := s.Call(inTime(t), procedure, []byte(args))
			text, _ := result.Bytes()
			return string(text), err
		},
	}
	return s
}

// reaches reports whether what is published at one place comes to another: a program on a
// bare host and an Erlang gateway have no protocol in common, and nobody passes on.
func reaches(from, to *place) bool {
	const bare, erlang = "program on a bare host", "Erlang gateway"
	return !(from.name == bare && to.name == erlang || from.name == erlang && to.name == bare)
}

// everybodyHears waits until what is published anywhere comes to all others.
func (e *everywhere) everybodyHears(t *testing.T, round string) {
	t.Helper()
	n := 0
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		n++
		for _, p := range e.places {
			assert.NoError(c, p.publish(fmt.Sprintf("%s of %s/%d", round, p.name, n)), p.name)
		}
		for _, to := range e.places {
			for _, from := range e.places {
				if reaches(from, to) {
					assert.NotEmpty(c, to.of(round, from.name), "%s at %s of %s", round, to.name, from.name)
				}
			}
		}
	}, 3*patience, 250*time.Millisecond)
}

// of returns the numbers of what came to a place of a publisher in a round.
func (p *place) of(round, publisher string) (numbers []int) {
	for _, text := range p.got() {
		var n int
		if rest, is := strings.CutPrefix(text, round+" of "+publisher+"/"); is {
			if _, err := fmt.Sscan(rest, &n); err == nil {
				numbers = append(numbers, n)
			}
		}
	}
	return numbers
}

// requireAll waits until all that was published in a round has come to a place, and looks
// whether it came once each, and in order.
func (p *place) requireAll(t *testing.T, round string, from *place, messages int) {
	t.Helper()
	require.Eventually(t, func() bool { return len(p.of(round, from.name)) >= messages }, patience, tick, "%s at %s has %d of %d of %s",
		round, p.name, len(p.of(round, from.name)), messages, from.name)
	got := p.of(round, from.name)
	if p.unordered || from.unordered {
		slices.Sort(got)
	}
	want := make([]int, messages)
	for i := range want {
		want[i] = i
	}
	require.Equal(t, want, got, "%s: of %s at %s", round, from.name, p.name)
}

// Two nodes of ours beside an Erlang gateway, with Erlang clients and programs: what is
// published anywhere is delivered everywhere, once, in the order of each publisher, and
// anything is called from anywhere. A node that is killed under load and started again is
// used by its clients as before, and nobody else has lost anything. No Erlang node breaks.
func TestTopicsAndCallsEverywhere(t *testing.T) {
	t.Parallel()
	computing.Lock()
	defer computing.Unlock()
	e := newEverywhere(t)
	unsubscribe := e.subscribing()
	serveEcho(t, e.right.Calls(), "program at right")
	unserve := serveEchoAt(t, e.leftApp(), "program at left")
	e.everybodyHears(t, "first")

	const messages = 40
	var publishing sync.WaitGroup
	for _, p := range e.places {
		publishing.Go(func() {
			for i := range messages {
				if err := p.publish(fmt.Sprintf("all of %s/%d", p.name, i)); err != nil {
					t.Errorf("%s: %v", p.name, err)
				}
			}
		})
	}
	publishing.Wait()
	for _, to := range e.places {
		for _, from := range e.places {
			if reaches(from, to) {
				to.requireAll(t, "all", from, messages)
			}
		}
	}

	e.callAll(t)

	// Left is killed while everybody publishes and calls.
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	published := make(map[string]int)
	var mu sync.Mutex
	for _, name := range callersOfLeft {
		p := e.places[name]
		load.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				if err := p.publish(fmt.Sprintf("load of %s/%d", name, i)); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				mu.Lock()
				published[name] = i + 1
				mu.Unlock()
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	calls := callLoad{answered: make(map[string]int), failed: make(map[string]int)}
	called, unserveSlow := serveSlow(t, e.leftApp())
	calls.inFlight(t, e, called, &load)
	calls.call(ctx, e, &load)
	comes := func(at string) func() bool {
		before := len(e.places[at].of("load", "program at right"))
		return func() bool { return len(e.places[at].of("load", "program at right")) > before }
	}
	require.Eventually(t, comes("program at left"), patience, tick)
	require.Eventually(t, func() bool { return calls.answeredNow("client at right → client at left") > 0 }, patience, tick)
	e.left.process.Kill()
	unsubscribe()
	unserve()
	unserveSlow()
	e.left.start(t)
	require.Eventually(t, comes("client at left"), 3*patience, tick, "it hears of others again, of its record alone")
	again := "program at right → client at left"
	before := calls.answeredNow(again)
	require.Eventually(t, func() bool { return calls.answeredNow(again) > before }, 3*patience, tick, "it is called again")
	stop()
	load.Wait()
	calls.require(t)
	for _, to := range []string{"program at right", "client at right", "program on a bare host", "Erlang gateway"} {
		for from, n := range published {
			if reaches(e.places[from], e.places[to]) {
				e.places[to].requireAll(t, "load", e.places[from], n)
			}
		}
	}
	defer e.subscribing()()
	defer serveEchoAt(t, e.leftApp(), "program at left")()
	e.everybodyHears(t, "last")
	e.callAll(t)

	for _, g := range append(e.vms, e.gateway) {
		require.Empty(t, g.Broken())
	}
	require.Empty(t, e.gateway.Lapses())
}

// callAll has everybody call what everybody serves.
func (e *everywhere) callAll(t *testing.T) {
	t.Helper()
	for _, from := range slices.Sorted(maps.Keys(e.places)) {
		for _, to := range slices.Sorted(maps.Keys(e.places)) {
			caller := e.places[from]
			if caller.call == nil || e.places[to].call == nil {
				continue // nobody calls by way of an Erlang gateway
			}
			var result string
			require.EventuallyWithT(t, func(c *assert.CollectT) {
				var err error
				result, err = caller.call(procedureAt(to), `{"n":7}`)
				assert.NoError(c, err, "%s calls %s", from, to)
			}, 3*patience, 100*time.Millisecond)
			require.JSONEq(t, fmt.Sprintf(`{"at":%q,"args":{"n":7}}`, to), result, "%s calls %s", from, to)
		}
	}
}
