package interop

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/internal/datadir"
	"github.com/macula-mesh/macula-node/interop/program"
	"github.com/macula-mesh/macula-node/node/api/client"
	"github.com/macula-mesh/macula-node/node/api/schema"
)

// scene is what was traced inside of real nodes.
type scene struct {
	Scenario string
	Events   []traced
}

// traced is a frame that a node sent or received.
type traced struct{ Node, Dir, Stream, Type, Hex string }

func (e traced) bytes(t *testing.T) []byte {
	t.Helper()
	b, err := hex.DecodeString(e.Hex)
	require.NoError(t, err)
	return b
}

func (e traced) frame(t *testing.T) framing.Frame {
	t.Helper()
	f, _, err := framing.DecodeFrame(e.bytes(t))
	require.NoError(t, err)
	return f
}

func scenes(t *testing.T, file string) map[string]scene {
	t.Helper()
	text, err := os.ReadFile("glass/testdata/" + file)
	require.NoError(t, err)
	var recorded struct{ Scenes []scene }
	require.NoError(t, json.Unmarshal(text, &recorded))
	all := make(map[string]scene)
	for _, s := range recorded.Scenes {
		all[s.Scenario] = s
	}
	return all
}

// fieldsOf returns what a frame says, field by field, with what is another value each time
// taken out. In which order a map's keys were is not stable in the reference.
func fieldsOf(t *testing.T, payload wire.Raw, but ...string) map[string]string {
	t.Helper()
	said := make(map[string]string)
	for key, value := range payload.Fields() {
		name, _ := key.Bytes()
		shown, err := value.MarshalJSON() // which tells bin from str
		require.NoError(t, err)
		said[string(name)] = value.Kind().String() + " " + string(shown)
	}
	for _, name := range but {
		require.Contains(t, said, name)
		said[name] = ""
	}
	return said
}

// ownID reports whether a PUBLISH has an id that its gateway made up, not the counter of a
// client.
func ownID(payload wire.Raw) bool {
	id, _ := payload.Field("message_id")
	b, _ := id.Bytes()
	return len(b) != 16 || b[0] != 0
}

// The node ids under which the recorded nodes have a session with their gateway, and those
// of the gateways.
const (
	sceneB = "9ffa7e757ee738d403f6050a3df03d693460c493c2b204a75e32526ce75a2b2c"
	sceneC = "f94f648a33955b237fa0c73c867fb301200eb5fc077f822f6d899f8cb673ef11"

	gatewayA = "fa0d9937b4ca1731928163661031782389cb46ad374970c2e3be501ac23d0db8"
	gatewayB = "c74147086c4761be99adbd37cd80ba1505e27e786682de46cea13a17e13d4071"
)

// TestScenes has the recorded clients talk to the program in the place of their gateway:
// what a client is sent is, field by field, what the real gateway sent it, but for what
// docs/INTEROP.md says of each scene.
func TestScenes(t *testing.T) {
	t.Parallel()
	one, three := scenes(t, "live-one-gateway.json"), scenes(t, "live-three-gateways.json")
	t.Run("one gateway", func(t *testing.T) {
		t.Parallel()
		p := newPlayers(t, "a")
		p.play(t, one["n01-connect"])
		for _, name := range []string{"n02-pubsub", "n03-pubsub-public", "n04-pubsub-wildcards", "n05-pubsub-qos1", "n06-pubsub-own", "n07-pubsub-unsubscribe"} {
			require.True(t, t.Run(name, func(t *testing.T) { p.play(t, one[name]) }))
		}
		require.Equal(t, 1, p.secondCopies, "of n03")
		p.connect(t, "118338", sceneC)
		p.connect(t, "118372", sceneC)
		p.connect(t, "118376", sceneB)
		for _, name := range []string{"n08-rpc-request", "n09-rpc-request-nobody", "n10-rpc-request-noproc", "n11-rpc-call", "n12-rpc-call-answered", "n13-rpc-call-miss"} {
			require.True(t, t.Run(name, func(t *testing.T) { p.play(t, one[name]) }))
		}
	})
	t.Run("client of b", func(t *testing.T) {
		t.Parallel()
		p := newPlayers(t, "b")
		p.connect(t, "46890", "a client of b, of thirty-two byt")
		for _, name := range []string{"m04-client-of-b", "m05-map-payload"} {
			require.True(t, t.Run(name, func(t *testing.T) { p.play(t, three[name]) }))
		}
		require.Zero(t, p.secondCopies)
	})
	t.Run("subscriber at a itself", func(t *testing.T) {
		t.Parallel()
		p := newPlayers(t, "a")
		ctx, cancel := context.WithCancel(t.Context())
		subscribed, ended := make(chan struct{}), make(chan struct{})
		got := make(chan schema.Published, 10)
		go func() {
			defer close(ended)
			for m, err := range p.api(t).Subscribe(ctx, testRealm+".public.**", func() { close(subscribed) }) {
				if err == nil {
					got <- m
				}
			}
		}()
		defer func() { cancel(); <-ended }()
		<-subscribed
		p.play(t, three["m01-route-b-to-a"])
		p.play(t, three["m06-route-others"]) // neither is for it
		require.NoError(t, p.api(t).Publish(within(t), testRealm+".public.end", nil))
		require.Equal(t, schema.Published{Topic: testRealm + ".public.x1", Value: schema.Value{Raw: wire.RawMap(wire.Pair{Key: "n", Value: wire.RawInt(1)})}}, <-got)
		require.Equal(t, testRealm+".public.end", (<-got).Topic)
	})
	t.Run("procedures of b itself", func(t *testing.T) {
		t.Parallel()
		p := newPlayers(t, "b")
		p.serve(t, testRealm+".locb", `{"loc":`)
		p.serve(t, testRealm+".okb", `{"ok":`)
		for _, name := range []string{"m07-rpc-route-call", "m08-rpc-route-ok-tuple"} {
			require.True(t, t.Run(name, func(t *testing.T) { p.play(t, three[name]) }))
		}
	})
}

// players are the recorded clients of a gateway, in whose place the program is.
type players struct {
	t       *testing.T
	role    string
	gateway *process
	dir     string
	self    []byte
	streams map[string]*player
	loose   *quic.Conn // of those that never CONNECT, each on a stream of its own
	opened  int

	secondCopies int
}

// player is one stream of a client, with what came on it that was not looked at yet.
type player struct {
	*talk
	loose bool // it has not CONNECTed
	got   []framing.Frame
}

func newPlayers(t *testing.T, role string) *players {
	t.Helper()
	dir := t.TempDir()
	p := &players{t: t, role: role, dir: dir, streams: make(map[string]*player)}
	p.gateway = startProcessOf(t, dir, 0, "--realm", testRealm, "--log-level", "error")
	p.self = unhex(t, p.gateway.NodeID)
	return p
}

func (p *players) api(t *testing.T) *client.Client {
	t.Helper()
	r, err := datadir.RunningIn(p.dir)
	require.NoError(t, err)
	return client.New(r.Socket)
}

// serve has a command serve a procedure of the program, which answers with its args in a
// map.
func (p *players) serve(t *testing.T, procedure, before string) {
	t.Helper()
	c := exec.Command(binary, "serve", "--data-dir", p.dir, procedure, "--", "sh", "-c", "printf '%s' '"+before+"'; cat; printf '}'")
	var out program.Output
	c.Stdout, c.Stderr = &out, &out
	require.NoError(t, c.Start())
	p.t.Cleanup(func() {
		_ = c.Process.Signal(os.Interrupt)
		_ = c.Wait()
	})
	require.Eventually(t, func() bool { return strings.Contains(out.String(), "serving") }, patience, tick, out.String())
}

// connect has a stream CONNECT whose CONNECT was not recorded.
func (p *players) connect(t *testing.T, stream, nodeID string) {
	t.Helper()
	k := &player{talk: talkRaw(p.t, dialRaw(p.t, p.gateway.udp(p.t)))}
	p.streams[stream] = k
	k.send(frame(tConnect, doc{"version": bin("1.0"), "node_id": bin(nodeID), "realm_id": bin(testRealm), "endpoint": bin("https://127.0.0.1:1"),
		"capabilities": []any{bin("pubsub"), bin("rpc")}}))
	require.Equal(t, wire.TypePong, k.next(t).Type)
}

// of returns the stream of an event, which is opened where it is new.
func (p *players) of(e traced) *player {
	k := p.streams[e.Stream]
	switch {
	case k != nil:
		return k
	case e.Type == "CONNECT":
		k = &player{talk: talkRaw(p.t, dialRaw(p.t, p.gateway.udp(p.t)))}
	default:
		if p.opened%20 == 0 {
			p.loose = dialRaw(p.t, p.gateway.udp(p.t))
		}
		p.opened++
		k = &player{talk: talkRaw(p.t, p.loose), loose: true}
	}
	p.streams[e.Stream] = k
	return k
}

// next returns the next frame that came.
func (k *player) next(t *testing.T) framing.Frame {
	t.Helper()
	if len(k.got) == 0 {
		k.got = append(k.got, nextFrame(t, k.talk))
	}
	f := k.got[0]
	k.got = k.got[1:]
	return f
}

// settle waits until all that was said on a stream has been taken.
func (k *player) settle(t *testing.T) {
	t.Helper()
	const asked = int64(77)
	k.send(frame(tPing, doc{"timestamp": asked}))
	for {
		f := nextFrame(t, k.talk)
		if at, _ := wire.Raw(f.Payload).Field("timestamp"); f.Type == wire.TypePong && bytes.Equal(at, wire.RawInt(asked)) {
			return
		}
		k.got = append(k.got, f)
	}
}

func (p *players) play(t *testing.T, s scene) {
	require.NotEmpty(t, s.Events)
	for i, e := range s.Events {
		switch {
		case e.Node != p.role, e.Dir == "send" && (e.Type == "STORE" || e.Type == "RPC_ROUTE" || e.Type == "PUBSUB_ROUTE" || e.Type == "CONNECT"), e.Type == "REPLY":
			// Somebody else's, what goes to other gateways, and what was sent by hand.
		case e.Type == "FIND_VALUE_REPLY" && p.streams[e.Stream] == nil:
			// It was asked before the trace began.
		case e.Dir == "send":
			p.sent(t, e)
		case e.Type == "RPC_ROUTE":
			p.route(t, s.Events[i:])
		default:
			k := p.of(e)
			k.send(p.toUs(t, e))
			if e.Type != "" { // a relay_request has no frame
				k.settle(t)
			}
		}
	}
	for stream, k := range p.streams { // and nothing but that
		k.settle(t)
		require.Empty(t, k.got, "stream %s", stream)
		if k.loose {
			require.NoError(t, k.CloseWrite())
			delete(p.streams, stream)
		}
	}
}

// toUs returns what was sent to a gateway, with our id in the place of its.
func (p *players) toUs(t *testing.T, e traced) []byte {
	t.Helper()
	b := e.bytes(t)
	if strings.HasSuffix(e.Type, "_ROUTE") {
		for _, id := range []string{gatewayA, gatewayB} {
			to := "destination_node_id\xc4\x20"
			b = bytes.Replace(b, append([]byte(to), unhex(t, id)...), append([]byte(to), p.self...), 1)
		}
	}
	return b
}

// route has an RPC_ROUTE call answered, the first of the events. The provider, a client, is
// asked by RPC_REQUEST, and says what was sent by hand in its place, or, where nothing was,
// that it knows of no such procedure, as a real one does. The caller gets a REPLY.
func (p *players) route(t *testing.T, events []traced) {
	t.Helper()
	caller := p.of(events[0])
	caller.send(p.toUs(t, events[0]))
	if p.role == "b" { // which serves it
		f := caller.next(t)
		require.Equal(t, wire.TypeReply, f.Type)
		result, _ := wire.Raw(f.Payload).Field("result")
		text, _ := result.Bytes()
		require.Regexp(t, `^\{"(loc|ok)":\{"x":1\}\}$`, strings.TrimSpace(string(text)))
		return
	}
	provider := p.streams["118347"] // cb of n01
	asked, err := provider.next(t).Decode()
	require.NoError(t, err)
	request := asked.(*wire.RPCRequest)
	require.Equal(t, testRealm+".add", request.Procedure)
	require.Regexp(t, `^\{"x":[12]\}$`, string(request.Args[2:]))
	said := wire.RPCReply{RequestID: request.RequestID, FromNode: request.TargetNode, ToNode: request.FromNode, Error: wire.ErrorProcedureNotFound}
	var want framing.Frame
	for _, e := range events[1:] {
		if e.Type == "RPC_ROUTE" && e.Dir == "recv" && e.Node == p.role {
			break
		}
		if e.Type == "REPLY" && e.Node == p.role {
			want = e.frame(t)
			var reply wire.Reply
			require.NoError(t, reply.Decode(want.Payload))
			said.Result, said.Error = reply.Result, ""
			if reply.Error != nil {
				said.Error = reply.Error.Code
			}
		}
	}
	b, err := framing.AppendFrame(nil, &said)
	require.NoError(t, err)
	provider.send(b)
	got := caller.next(t)
	if said.Error == "" {
		require.Equal(t, want.Type, got.Type)
		require.Equal(t, fieldsOf(t, want.Payload), fieldsOf(t, got.Payload))
		return
	}
	var reply wire.Reply
	require.NoError(t, reply.Decode(got.Payload))
	require.Equal(t, &wire.CallError{Code: said.Error, Message: said.Error}, reply.Error)
}

// sent looks whether the program has sent what the gateway did.
func (p *players) sent(t *testing.T, e traced) {
	t.Helper()
	want := e.frame(t)
	own := e.Type == "PUBLISH" && ownID(want.Payload)
	if own && p.role == "a" { // found by its record, it has had its copy
		p.secondCopies++
		return
	}
	got := p.of(e).next(t)
	require.Equal(t, want.Type, got.Type)
	var but []string
	switch {
	case own:
		but = []string{"message_id"}
	case e.Type == "PONG":
		but = []string{"timestamp", "server_time", "node_id", "endpoint"}
	case e.Type == "FIND_VALUE_REPLY":
		// An Erlang list of nothing travels as a text.
		want.Payload = bytes.Replace(want.Payload, []byte("nodes\xa0"), append([]byte("nodes"), wire.RawArray()...), 1)
	}
	if from, is := wire.Raw(want.Payload).Field("from_node"); is && e.Type == "RPC_REPLY" && bytes.HasSuffix(from, unhex(t, gatewayA)) {
		but = []string{"from_node", "timestamp"}
	}
	require.Equal(t, fieldsOf(t, want.Payload, but...), fieldsOf(t, got.Payload, but...), e.Type)
}
