package resolver

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/routingtest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

const late = 400 * time.Millisecond

func TestWhenTheAnswerComes(t *testing.T) {
	const (
		ms   = time.Millisecond
		soon = time.Duration(-1) // long before the limit
	)
	tests := map[string]struct {
		peers  map[int]routingtest.Reply // of 30, by nearness
		other  routingtest.Reply
		values int
		took   time.Duration
	}{
		"when enough have it":          {map[int]routingtest.Reply{0: after(50*ms, has(value("a", 60))), 1: after(60*ms, has(value("a", 60))), 2: after(70*ms, has(value("b", 60)))}, never, 2, 70 * ms},
		"when all nearby have missed":  {nil, after(ms, names()), 0, soon},
		"at the limit with what came":  {map[int]routingtest.Reply{1: after(50*ms, has(value("a", 60)))}, never, 1, late},
		"at the limit without":         {nil, never, 0, late},
		"not with what came too late":  {map[int]routingtest.Reply{0: after(late+ms, has(value("a", 60)))}, never, 0, late},
		"what has ended is no value":   {map[int]routingtest.Reply{0: after(50*ms, has(value("a", 1)))}, after(2*time.Second, names()), 1, late},
		"without what would harm it":   {map[int]routingtest.Reply{0: has(routingtest.Value("short", 60))}, after(ms, names()), 0, soon},
		"when nobody is there to ask":  {nil, nil, 0, 0},
		"though one speaks rubbish":    {map[int]routingtest.Reply{0: after(ms, has(wire.RawText("x")))}, after(ms, has(value("a", 60))), 1, soon},
		"when one has it, others none": {map[int]routingtest.Reply{3: after(ms, has(value("a", 60)))}, after(ms, names()), 1, soon},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, 30, func(t *testing.T, s *script) {
				if tt.other != nil {
					s.Know(s.Peers...)
				}
				s.Other = tt.other
				for i, r := range tt.peers {
					s.Replies[s.Peers[i].ID] = r
				}
				d := newDoor(t, s.Server, s)
				defer d.close()
				c := d.erlang()
				values, took := c.find(s.Target[:])
				require.Len(t, values, tt.values)
				if tt.took == soon {
					require.Less(t, took, late/4)
				} else {
					require.Equal(t, tt.took, took)
				}
			})
		})
	}
}

// Who has not CONNECTed may be a gateway that asks many, one after the other.
func TestAGatewayWaitsLess(t *testing.T) {
	limits := DefaultLimits()
	play(t, 1, func(t *testing.T, s *script) {
		s.Know(s.Peers...)
		s.Other = after(limits.Wait-time.Millisecond, has(value("a", 60)))
		d := newDoor(t, s.Server, s)
		defer d.close()
		gateway, client := d.gateway(), d.erlang()
		values, took := gateway.find(s.Target[:])
		require.Empty(t, values)
		require.Equal(t, limits.GatewayWait, took)
		values, took = gateway.find(s.Target[:])
		require.Len(t, values, 1)
		require.Equal(t, limits.GatewayWait, took, "it joins the lookup")
		values, took = client.find([]byte("another"))
		require.Len(t, values, 1)
		require.Equal(t, limits.Wait, took, "a client waits longer")
	})
}

func TestOtherStreamsDoNotWait(t *testing.T) {
	play(t, 1, func(t *testing.T, s *script) {
		s.Know(s.Peers...)
		s.Other = never
		keep(s, []byte("here"), value("a", 60))
		d := newDoor(t, s.Server, s)
		defer d.close()
		one, other := d.erlang(), d.erlang()
		one.send(&wire.FindValue{Key: s.Target[:]})
		values, took := other.find([]byte("here"))
		require.Len(t, values, 1)
		require.Zero(t, took)
		require.Empty(t, one.next().Values)
	})
}

func TestALocalHitIsAnsweredAtOnceAndWholeTheNextTime(t *testing.T) {
	play(t, 3, func(t *testing.T, s *script) {
		s.Know(s.Peers...)
		s.Other = after(time.Second/2, has(value("here", 60), value("elsewhere", 60)))
		keep(s, s.Target[:], value("here", 60))
		d := newDoor(t, s.Server, s)
		defer d.close()
		c := d.erlang()
		values, took := c.find(s.Target[:])
		require.Equal(t, []wire.Raw{value("here", 60)}, values)
		require.Zero(t, took)
		time.Sleep(3 * time.Second)
		values, took = c.find(s.Target[:])
		require.Equal(t, []wire.Raw{value("here", 60), value("elsewhere", 60)}, values)
		require.Zero(t, took)
	})
}

func TestTheFresherOfTwoIsTheAnswer(t *testing.T) {
	changed := wire.RawMap(wire.Pair{Key: "node_id", Value: wire.RawBytes(provider("a"))}, wire.Pair{Key: "ttl", Value: wire.RawInt(60)}, wire.Pair{Key: "n", Value: wire.RawInt(2)})
	play(t, 1, func(t *testing.T, s *script) {
		s.Know(s.Peers...)
		s.Other = has(changed)
		keep(s, s.Target[:], value("a", 50))
		d := newDoor(t, s.Server, s)
		defer d.close()
		c := d.erlang()
		c.find(s.Target[:])
		time.Sleep(time.Second)
		values, _ := c.find(s.Target[:])
		require.Equal(t, []wire.Raw{changed}, values, "what was renewed elsewhere")
		keep(s, s.Target[:], value("a", 60))
		values, _ = c.find(s.Target[:])
		require.Equal(t, []wire.Raw{value("a", 60)}, values, "what is renewed here")
	})
}

func TestWhoIsNeverAsked(t *testing.T) {
	gateway := []byte(wire.GatewayPrefix + "x")
	tests := map[string]struct {
		dialect server.Dialect
		key     []byte
		asked   bool
	}{
		"libp2p contacts for an Erlang node": {server.Erlang(), []byte("k"), true},
		"nobody for a libp2p peer":           {server.LibP2P(), []byte("k"), false},
		"nobody for a gateway's entry":       {server.Erlang(), gateway, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, 5, func(t *testing.T, s *script) {
				s.Know(s.Peers...)
				erlang := s.ErlangIn(0, 7)
				s.Know(erlang)
				d := newDoor(t, s.Server, s)
				defer d.close()
				c := d.open(tt.dialect)
				c.send(&wire.FindValue{Key: tt.key})
				require.Empty(t, c.next().Values)
				time.Sleep(time.Minute)
				require.Equal(t, tt.asked, questions(s, tt.key) > 0)
				require.NotContains(t, s.Asked, erlang.ID, "an Erlang node that waits for one that waits for it")
			})
		})
	}
}

func TestTheAnswerFitsTheFirstPacket(t *testing.T) {
	play(t, 1, func(t *testing.T, s *script) {
		s.Know(s.Peers...)
		var values []wire.Raw
		for i := range 100 {
			values = append(values, value(fmt.Sprintf("provider %032d", i), 60+i))
		}
		s.Other = has(values...)
		keep(s, []byte("both"), value("here", 86_400))
		d := newDoor(t, s.Server, s)
		defer d.close()
		for _, key := range []string{"elsewhere", "both"} {
			c := d.gateway()
			for range 2 {
				c.send(&wire.FindValue{Key: []byte(key)})
				reply := c.next()
				require.NotEmpty(t, reply.Values)
				b, err := framing.AppendFrame(nil, reply)
				require.NoError(t, err)
				require.LessOrEqual(t, len(b), server.FirstPacket)
				time.Sleep(time.Second)
			}
			c.Close()
		}
	})
}
