package interop

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// outcome is what came back in an exchange.
type outcome struct {
	Replies []message
	End     string // of the stream, as talk.rest says it
}

// TestReplay sends the program what was once sent to a real Erlang node, in the
// same order, and compares what comes back. Where ours differs the table of
// exceptions says how and why. The exchanges build on each other: a single one
// can not be run.
func TestReplay(t *testing.T) {
	all := loadExchanges(t)
	require.Len(t, all, 112)
	r := &replay{t: t, node: startProcess(t), all: all}
	r.to = r.node.udp(t)
	left, failed := map[string]bool{}, 0
	for name := range exceptions {
		left[name] = true
	}
	for i, e := range all {
		if !t.Run(fmt.Sprintf("%03d %s", i, e.Name), func(t *testing.T) { r.exchange(t, e) }) {
			failed++
		}
		require.Less(t, failed, 4, "exchanges that fail: each may wait for its time-out, so this is enough")
		delete(left, e.Name)
	}
	require.Empty(t, left, "exceptions for no exchange")
}

// replay is the node under test and the connections that are kept to it.
type replay struct {
	t    *testing.T // of all exchanges
	node *process
	to   *net.UDPAddr
	all  []exchange
	kept []*quic.Conn // that have CONNECTed since the reference last lost its state
}

func (r *replay) exchange(t *testing.T, e exchange) {
	except, excepted := exceptions[e.Name]
	recorded := recordedOutcome(t, e)
	want := recorded
	if excepted {
		require.NotEmpty(t, except.why)
		want = except.want
	}
	conn, got := r.play(t, e, except.finish)
	if except.poll {
		waitFor(t, "another outcome", func() bool {
			if assert.ObjectsAreEqual(want, got) {
				return true
			}
			conn.CloseWithError(0, "")
			conn, got = r.play(t, e, except.finish)
			return false
		})
	}
	if except.mayLose && got.Replies == nil {
		want.Replies = nil
	}
	assert.Equal(t, want, got)
	if excepted {
		assert.NotEqual(t, recorded, got, "a stale exception: this is what the reference does")
	}
	talkRaw(t, dialRaw(t, r.to)).requireAlive()
	switch {
	case e.lost():
		r.kept = append(r.kept, conn)
		r.forget()
	case len(got.Replies) == 1 && len(e.SentHex) == 1 && unhex(t, e.SentHex[0][:4])[1] == tConnect:
		r.kept = append(r.kept, conn) // a node is listed while its connection lives
	default:
		conn.CloseWithError(0, "")
	}
}

// forget closes the connections that have CONNECTed.
func (r *replay) forget() {
	for _, conn := range r.kept {
		conn.CloseWithError(0, "")
	}
	r.kept = nil
}

// play has the exchange on a connection of its own.
func (r *replay) play(t *testing.T, e exchange, finish bool) (*quic.Conn, outcome) {
	conn := dialRaw(r.t, r.to)
	k := talkRaw(t, conn)
	writes := e.sent(t, r.all)
	k.send(writes...)
	var got outcome
	if finish {
		got.Replies, got.End = k.finish()
	} else {
		got.Replies, got.End = k.rest()
	}
	us := liveView(bin(unhex(t, r.node.NodeID)), bin(r.node.Endpoints[0]), r.to.Port)
	us.seenPort = func(port int64) bool { return port == int64(conn.LocalAddr().(*net.UDPAddr).Port) }
	for i := range got.Replies {
		us.normalise(&got.Replies[i])
	}
	return conn, got
}

// recordedOutcome is what the reference did.
func recordedOutcome(t *testing.T, e exchange) outcome {
	reference := view{
		nodeID:   bin(unhex(t, "70f933cbf8b84a4d4e9aabcec0cf98dc55f7d65373dfb9fe0cebc8f2df8d29fc")),
		endpoint: "https://127.0.0.1:9443",
		port:     9443,
		seenPort: func(port int64) bool { return port > 0 && port < 65536 },
		isNow:    func(ms int64) bool { return ms >= 1795328000_000 && ms < 1795330000_000 }, // that day
	}
	o := outcome{End: "open"}
	for _, m := range decodeFrames(t, unhex(t, e.RecvHex)) {
		emptyList(m.Fields, "nodes")
		if result, ok := m.Fields["result"].(map[string]any); ok {
			emptyList(result, "peers")
		}
		reference.normalise(&m)
		o.Replies = append(o.Replies, m)
	}
	switch {
	case strings.Contains(e.Outcome, "EOF (FIN)"):
		o.End = "closed"
	case strings.Contains(e.Outcome, "Application error"):
		o.End = "connection closed"
	case strings.HasPrefix(e.SameLive, "write error"): // it was we who had closed
	default:
		require.Equal(t, "pong", e.SameLive)
	}
	return o
}

// emptyList undoes how the reference writes an empty list: as an empty str.
func emptyList(m map[string]any, field string) {
	if m[field] == str("") {
		m[field] = []any{}
	}
}

// mark stands for what is another value each time, and was seen to be the right
// one.
type mark string

const (
	theTime     = mark("the time")
	theID       = mark("the gateway's id")
	theEndpoint = mark("the gateway's endpoint")
	theStoreID  = mark("the id of the gateway's store")
	thePort     = mark("the gateway's port")
	clientPort  = mark("the client's port")
)

// view is what the volatile fields must be in the replies of a node.
type view struct {
	nodeID   bin
	endpoint bin
	storeID  bin // "" for none
	port     int64
	seenPort func(int64) bool
	isNow    func(ms int64) bool
}

// liveView is what they must be now.
func liveView(nodeID, endpoint bin, port int) view {
	return view{
		nodeID:   nodeID,
		endpoint: endpoint,
		port:     int64(port),
		seenPort: func(int64) bool { return false },
		isNow:    func(ms int64) bool { return time.Since(time.UnixMilli(ms)).Abs() < time.Minute },
	}
}

// normalise puts marks where the volatile fields are what they must be.
func (v *view) normalise(m *message) {
	v.time(m.Fields, "server_time")
	switch m.Type {
	case tPong, tRPCReply:
		v.time(m.Fields, "timestamp")
		v.own(m.Fields, "node_id", "endpoint", "from_node")
		if id, ok := m.Fields["store_id"]; ok && id == v.storeID {
			m.Fields["store_id"] = theStoreID
		}
	case tNATProbeReply:
		v.own(m.Fields, "node_id")
		if port, ok := m.Fields["reflexive_port"].(int64); ok && v.seenPort(port) {
			m.Fields["reflexive_port"] = clientPort
		}
	case tFindNodeReply:
		nodes, _ := m.Fields["nodes"].([]any)
		for _, n := range nodes {
			v.time(n.(map[string]any), "last_seen")
		}
	case tReply:
		result, _ := m.Fields["result"].(map[string]any)
		peers, _ := result["peers"].([]any)
		for _, p := range peers {
			v.own(p.(map[string]any), "node_id", "port")
		}
	}
}

func (v *view) time(m map[string]any, field string) {
	if ms, ok := m[field].(int64); ok && v.isNow(ms) {
		m[field] = theTime
	}
}

func (v *view) own(m map[string]any, names ...string) {
	for _, name := range names {
		switch m[name] {
		case v.nodeID:
			m[name] = theID
		case v.endpoint:
			m[name] = theEndpoint
		case v.port:
			m[name] = thePort
		}
	}
}

// waitFor polls until it is so.
func waitFor(tb testing.TB, what string, isSo func() bool) {
	tb.Helper()
	deadline := time.Now().Add(patience)
	for !isSo() {
		require.True(tb, time.Now().Before(deadline), "waited in vain for %s", what)
		<-time.After(tick)
	}
}
