package dht

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/servertest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// Types that are none of Macula's: of typeLater a question is answered later.
const (
	typeLater   wire.Type = 0xe1
	typeHello   wire.Type = 0xe0 // the rig's own
	unknownType wire.Type = 0xee
)

// slotLife is how long an answer of typeLater may take.
const slotLife = time.Second

// step is one thing that a peer does, or that happens to it.
type step byte

const (
	stepConnect   step = iota // in the realm that is served
	stepElsewhere             // CONNECT in another one
	stepNameless              // CONNECT without a node id
	stepPing
	stepFindValue
	stepFindNode
	stepStore
	stepCall
	stepGateways
	stepProbe
	stepRequest
	stepPublish
	stepUnknown
	stepBroken // a frame that can not be read
	stepLater  // a question that is answered when stepFill says so
	stepFill
	stepPush
	stepSecond // all that waits for an answer has one by then
	stepHalf   // half a frame, and its rest after a minute
	stepQuiet  // nothing, for longer than a stream may be quiet
	steps
)

// FuzzSession has a peer do anything in any order on one stream, and compares what it is
// answered with what a model of a session says: each question has one answer, in the order
// of the questions, as long as the stream lives; it ends when it should and only then; and
// nothing is left of it.
func FuzzSession(f *testing.F) {
	all := make([]byte, steps)
	for i := range all {
		all[i] = byte(i)
	}
	questions := []byte{byte(stepPing), byte(stepFindValue), byte(stepFindNode), byte(stepStore), byte(stepCall), byte(stepGateways), byte(stepProbe), byte(stepRequest), byte(stepPublish), byte(stepUnknown)}
	for _, erlang := range []bool{false, true} {
		for _, strict := range []bool{false, true} {
			f.Add(all, erlang, strict)
			f.Add(questions, erlang, strict)
			f.Add(slices.Concat([]byte{byte(stepConnect)}, questions, []byte{byte(stepQuiet), byte(stepPing)}), erlang, strict)
			f.Add(slices.Concat([]byte{byte(stepElsewhere)}, questions, []byte{byte(stepConnect)}, questions), erlang, strict)
			f.Add([]byte{byte(stepConnect), byte(stepLater), byte(stepPing), byte(stepLater), byte(stepPush), byte(stepFill), byte(stepSecond), byte(stepPing)}, erlang, strict)
			f.Add([]byte{byte(stepConnect), byte(stepLater), byte(stepElsewhere), byte(stepPush), byte(stepFill), byte(stepConnect), byte(stepPush)}, erlang, strict)
			f.Add([]byte{byte(stepLater), byte(stepBroken)}, erlang, strict)
			f.Add([]byte{byte(stepConnect), byte(stepHalf), byte(stepPing), byte(stepNameless), byte(stepFindNode)}, erlang, strict)
		}
	}
	f.Fuzz(func(t *testing.T, does []byte, erlang, strict bool) {
		if len(does) > 64 {
			return
		}
		synctest.Test(t, func(t *testing.T) { newSessionRun(t, erlang, strict).run(does) })
	})
}

// sessionRun is a session and the model of it.
type sessionRun struct {
	t       *testing.T
	dialect server.Dialect
	strict  bool
	mux     *server.Mux
	rig     *servertest.Rig
	asker   *servertest.Asker
	slots   []*server.Slot // of each stepLater that was served

	mu     sync.Mutex
	got    []string // what was answered
	pushes int      // that came

	connected, refused, kept bool
	ended, cut               bool // the peer was turned away, or the stream was reset
	code                     proto.ResetCode
	want                     []string // what is answered, in order
	open                     []int    // which of want wait for their slots
	asked, pushed            int
}

func newSessionRun(t *testing.T, erlang, strict bool) *sessionRun {
	t.Helper()
	var opts []server.Option
	if strict {
		opts = append(opts, server.WithStrict())
	}
	mux, err := server.NewMux(opts...)
	require.NoError(t, err)
	newHandlersOn(t, mux)
	r := &sessionRun{t: t, dialect: server.LibP2P(), strict: strict, got: []string{}, want: []string{}}
	if erlang {
		r.dialect = server.Erlang()
	}
	require.NoError(t, mux.Handle(typeLater, func(p *server.Peer, f framing.Frame) error {
		slot, err := p.Defer(slotLife, laterPong(int(f.Payload[0]), "late"))
		if err == nil {
			r.slots = append(r.slots, slot)
		}
		return err
	}))
	r.rig = servertest.NewRig(t, mux)
	r.mux = r.rig.Mux
	require.NoError(t, r.mux.Open(typeHello, func(*server.Peer, framing.Frame) bool { return true }))
	r.asker = r.rig.Serve(r.dialect)
	t.Cleanup(func() { _ = r.asker.Close() }) // where the test has failed
	return r
}

// laterPong answers the nth stepLater.
func laterPong(n int, how string) *wire.Pong {
	return &wire.Pong{Timestamp: wire.Some(int64(n)), NodeID: []byte(how)}
}

func (r *sessionRun) run(does []byte) {
	var reading sync.WaitGroup
	reading.Go(func() {
		for {
			f, err := r.asker.In.Next()
			if err != nil {
				return
			}
			m, err := f.Decode()
			r.mu.Lock()
			if err != nil {
				r.got = append(r.got, err.Error())
			} else if text := answerText(m); text == "pushed" {
				r.pushes++
			} else {
				r.got = append(r.got, text)
			}
			r.mu.Unlock()
		}
	})
	for _, b := range does {
		r.do(step(b) % steps)
		synctest.Wait()
		listed := 0
		if r.dialect.KeepConnected && r.connected && !r.ended && !r.cut {
			listed = 1
		}
		require.Equal(r.t, listed, r.mux.Clients().Len(), "after %d", b)
		require.Equal(r.t, r.cut, len(r.asker.Stream.Resets) == 1, "after %d", b)
		r.mu.Lock()
		got := slices.Clone(r.got)
		r.mu.Unlock()
		require.Equal(r.t, r.want[:r.due()], got, "after %d", b)
	}
	if !r.ended && !r.cut {
		require.NoError(r.t, r.asker.CloseWrite())
	}
	time.Sleep(slotLife)
	r.tooLate()
	synctest.Wait()
	err := <-r.asker.Ended
	require.Equal(r.t, r.ended && !r.cut, errors.Is(err, server.ErrTurnedAway))
	require.Equal(r.t, r.ended || r.cut, err != nil, "%v", err)
	if r.cut && r.code != 0 {
		require.Equal(r.t, r.code, (<-r.asker.Stream.Resets).Code)
	}
	_ = r.asker.Close()
	reading.Wait()
	require.Equal(r.t, r.want, r.got)
	require.Equal(r.t, r.pushed, r.pushes)
	require.Zero(r.t, r.mux.Clients().Len())
	r.rig.RequireNothingHeld()
}

// due returns how many answers have their turn.
func (r *sessionRun) due() int {
	if len(r.open) > 0 {
		return r.open[0]
	}
	return len(r.want)
}

// do does one thing, and has the model do it.
func (r *sessionRun) do(what step) {
	switch {
	case what == stepSecond:
		time.Sleep(slotLife)
		r.tooLate()
	case what == stepFill:
		if len(r.open) > 0 {
			n := r.open[0]
			var of int
			_, err := fmt.Sscanf(r.want[n], "waits for %d", &of)
			require.NoError(r.t, err)
			require.NoError(r.t, r.slots[of].Fill(laterPong(of, "filled")))
			r.want[n] = fmt.Sprintf("filled %d", of)
			r.open = r.open[1:]
		}
	case r.ended || r.cut: // nobody reads what it says
	case what == stepPush:
		push := dhttest.Frames(r.t, &wire.Pong{NodeID: []byte("pushed")})
		require.NoError(r.t, r.asker.Peer.Push(push))
		r.pushed++
	case what == stepQuiet:
		time.Sleep(server.ErlangIdle + time.Minute)
		r.tooLate()
		if !r.kept {
			r.reset(0)
		}
	case what == stepHalf:
		ping := dhttest.Frames(r.t, &wire.Ping{Timestamp: wire.Some[int64](1)})
		r.asker.Send(ping[:len(ping)/2])
		time.Sleep(time.Minute)
		r.tooLate()
		if !r.kept {
			r.reset(0)
			return
		}
		r.asker.Send(ping[len(ping)/2:])
	default:
		r.say(what)
	}
}

// tooLate has all that waits have had its time.
func (r *sessionRun) tooLate() {
	for _, n := range r.open {
		r.want[n] = strings.Replace(r.want[n], "waits for", "late", 1)
	}
	r.open = nil
}

// reset has the stream end, and what waits and what is behind it be lost.
func (r *sessionRun) reset(code proto.ResetCode) {
	r.cut, r.code = true, code
	r.want = r.want[:r.due()]
	r.open = nil
}

// say sends a frame.
func (r *sessionRun) say(what step) {
	question, answer, refusal := r.frame(what)
	r.asker.Send(question)
	erlang := r.dialect.KeepConnected
	switch {
	case what == stepConnect:
		r.connected, r.refused, r.kept = true, false, erlang
		r.want = append(r.want, answer)
	case what == stepElsewhere, what == stepNameless:
		r.connected, r.refused, r.kept, r.ended = false, erlang, erlang, !erlang
		r.want = append(r.want, answer)
	case r.refused:
		if refusal != "" {
			r.want = append(r.want, refusal)
		}
	case r.strict && !r.connected && !(erlang && what == stepGateways):
		if refusal == "" {
			r.reset(proto.ResetConnectFirst)
			return
		}
		r.want = append(r.want, refusal)
	case what == stepBroken:
		if !r.kept {
			r.reset(proto.ResetNotMap)
		}
	case what == stepLater:
		r.open = append(r.open, len(r.want))
		r.want = append(r.want, fmt.Sprintf("waits for %d", r.asked))
		r.asked++
	case answer != "":
		r.want = append(r.want, answer)
	}
}

// frame returns what is sent in a step, what answers it where it is served, and what where
// its peer is refused; nothing for no answer.
func (r *sessionRun) frame(what step) (question []byte, answer, refusal string) {
	frames := func(m wire.Message) []byte { return dhttest.Frames(r.t, m) }
	key := []byte("k")
	switch what {
	case stepConnect:
		return frames(&wire.Connect{NodeID: []byte(servertest.ErlangID("n")), RealmID: proto.DefaultRealm}), "pong", ""
	case stepElsewhere:
		return frames(&wire.Connect{NodeID: []byte("n"), RealmID: "another"}), "disconnect", ""
	case stepNameless:
		return frames(dhttest.Fields(wire.TypeConnect, wire.Pair{Key: "realm_id", Value: wire.RawText(proto.DefaultRealm)})), "disconnect", ""
	case stepPing:
		return frames(&wire.Ping{}), "pong", ""
	case stepFindValue:
		return frames(&wire.FindValue{Key: key}), "values", "refused values"
	case stepFindNode:
		return frames(&wire.FindNode{Target: key}), "nodes", "refused nodes"
	case stepStore:
		return frames(&wire.Store{Key: key, Value: dhttest.Value(servertest.ErlangID("p"))}), "", ""
	case stepCall:
		return frames(&wire.Call{Procedure: "p", CallID: []byte("c")}), "refused call", "refused call"
	case stepGateways:
		return frames(&wire.Call{Procedure: wire.ProcedureListGateways, CallID: []byte("c")}), "result", "refused call"
	case stepProbe:
		return frames(&wire.NATProbe{}), "probed", ""
	case stepRequest:
		return frames(&wire.RPCRequest{Procedure: "p"}), "refused request", "refused request"
	case stepPublish:
		return frames(&wire.Publish{Topic: "t"}), "", ""
	case stepUnknown:
		return dhttest.Frame(unknownType, 0x80), "", ""
	case stepBroken:
		return dhttest.Frame(wire.TypePing, 0x90), "", ""
	default:
		return dhttest.Frame(typeLater, byte(r.asked)), "", ""
	}
}

// answerText returns what kind of answer a message is.
func answerText(m wire.Message) string {
	refused := func(is bool, what string) string {
		if is {
			return "refused " + what
		}
		return what
	}
	switch m := m.(type) {
	case *wire.Pong:
		switch how := string(m.NodeID); how {
		case "late", "filled":
			return fmt.Sprintf("%s %d", how, m.Timestamp.V)
		case "pushed":
			return how
		}
		return "pong"
	case *wire.Disconnect:
		return "disconnect"
	case *wire.FindValueReply:
		return refused(m.Reason != "", "values")
	case *wire.FindNodeReply:
		return refused(m.Reason != "", "nodes")
	case *wire.Reply:
		if m.Error == nil {
			return "result"
		}
		return "refused call"
	case *wire.NATProbeReply:
		return "probed"
	case *wire.RPCReply:
		return refused(m.Error != "", "request")
	default:
		return m.Type().String()
	}
}
