package doctor_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/doctor"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/interop/glass"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
)

// What is skipped without Write.
var writes = []string{"_dht.store", "STORE", "what comes back"}

var greeter = doctor.Key{Name: "service greeter", Key: maculadht.ServiceKey("greeter")}

// register puts an entry into a gateway's list.
func register(g *glass.Gateway, nodeID, host string, port int, realm string, at int64) {
	g.Store([]byte(wire.GatewayPrefix+nodeID), wire.RawMap(
		wire.Pair{Key: "node_id", Value: wire.RawText(nodeID)},
		wire.Pair{Key: "host", Value: wire.RawText(host)},
		wire.Pair{Key: "port", Value: wire.RawInt(int64(port))},
		wire.Pair{Key: "realm", Value: wire.RawText(realm)},
		wire.Pair{Key: "registered_at", Value: wire.RawInt(at)}))
}

// TestGateways looks at gateways that answer, each in its way. None of them is
// harmed, and what is not named as failed, noted or skipped is ok.
func TestGateways(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		gateway []glass.Option
		prepare func(*glass.Gateway)
		examine []doctor.Option

		failed, noted, skipped []string
		seen                   map[string]string // regular expressions by name
		realm                  string
		verdict                string
	}{
		"healthy": {
			examine: []doctor.Option{doctor.WithRealm(realm)},
			skipped: writes,
			seen: map[string]string{
				"connection":         `^connected to 127\.0\.0\.1:\d+$`,
				"certificate":        `^self-signed, until \d{4}-\d\d-\d\d, client id [0-9a-f]{12}…$`,
				"PING":               `^50 of 50, p50 [0-9.]+(µs|ms), p99 [0-9.]+(µs|ms)$`,
				"NAT_PROBE":          `^127\.0\.0\.1 port \d+; its node id [0-9a-f]{12}…$`,
				"_dht.list_gateways": `^itself, by its certificate, registered \d+s ago; no others$`,
				"realm":              `^"be\.cortexiq\.test", match$`,
				"CALL":               `^gateway_bootstrap_only$`,
				"FIND_VALUE":         `^1 value: [0-9a-f]{12}… at 127\.0\.0\.1$`,
			},
			realm:   realm,
			verdict: `^ok: https://127\.0\.0\.1:\d+ serves the realm "be\.cortexiq\.test" and answers in [0-9.]+(µs|ms)$`,
		},
		"healthy, written to": {
			examine: []doctor.Option{doctor.WithWriting()},
			seen: map[string]string{
				"_dht.store":      `^ok, service macula-node\.doctor\.[A-Z2-7]+$`,
				"STORE":           `^found, with 2 values: [0-9a-f]{12}…, [0-9a-f]{12}…$`,
				"what comes back": `^both values; lists of integers as str, which Erlang nodes do$`,
			},
			realm:   realm,
			verdict: `^ok: `,
		},
		"any realm": {
			skipped: writes,
			seen:    map[string]string{"realm": `^"be\.cortexiq\.test"$`},
			realm:   realm,
			verdict: `^ok: `,
		},
		"of another realm": {
			examine: []doctor.Option{doctor.WithRealm("other")},
			failed:  []string{"realm"},
			skipped: writes,
			seen:    map[string]string{"realm": `^"be\.cortexiq\.test", mismatch$`},
			realm:   realm,
			verdict: `^FAIL: https://127\.0\.0\.1:\d+ serves the realm "be\.cortexiq\.test", not "other": .* hangs it; `,
		},
		"of another realm, not written to": {
			examine: []doctor.Option{doctor.WithRealm("other"), doctor.WithWriting()},
			failed:  []string{"realm"},
			skipped: writes,
			seen:    map[string]string{"_dht.store": `^not written to: .* realm is not "other"$`, "STORE": `^not written to: `},
			realm:   realm,
			verdict: `^FAIL: `,
		},
		"registers itself later": {
			gateway: []glass.Option{glass.RegisterAfter(soon)},
			examine: []doctor.Option{doctor.WithRealm(realm)},
			skipped: writes,
			realm:   realm,
			verdict: `^ok: `,
		},
		"does not register itself": {
			gateway: []glass.Option{glass.RegisterAfter(-1)},
			examine: []doctor.Option{doctor.WithRegistration(0)},
			failed:  []string{"_dht.list_gateways"},
			skipped: append([]string{"realm", "FIND_VALUE of its own key"}, writes...),
			seen: map[string]string{
				"_dht.list_gateways": `^no own entry; no others$`,
				"FIND_VALUE":         `^not asked: .* miss`,
			},
			verdict: `lists no entry of its own: .* macula-node gateways https://127\.0\.0\.1:\d+$`,
		},
		"does not register itself, a realm expected": {
			gateway: []glass.Option{glass.RegisterAfter(-1)},
			examine: []doctor.Option{doctor.WithRegistration(0), doctor.WithRealm(realm)},
			failed:  []string{"_dht.list_gateways", "realm"},
			skipped: append([]string{"FIND_VALUE of its own key"}, writes...),
			verdict: `\(and 1 more\)$`,
		},
		"named by a NODE_ID, and started anew": {
			gateway: []glass.Option{glass.RegisterAfter(-1)},
			prepare: func(g *glass.Gateway) {
				register(g, "first", "127.0.0.1", g.Addr().Port, "old", 1)
				register(g, "second", "127.0.0.1", g.Addr().Port, realm, 2)
				register(g, "other", "127.0.0.1", 1, "other", 3)
			},
			examine: []doctor.Option{doctor.WithRealm(realm)},
			skipped: writes,
			seen: map[string]string{
				"_dht.list_gateways": `^itself, by its address, registered .* ago; 2 others: https://127\.0\.0\.1:\d+, https://127\.0\.0\.1:1$`,
				"FIND_VALUE":         `^1 value: second at 127\.0\.0\.1$`,
			},
			realm:   realm,
			verdict: `^ok: `,
		},
		"with neighbours": {
			prepare: func(g *glass.Gateway) {
				for i := range 5 {
					register(g, fmt.Sprint("n", i), "192.0.2.7", 9443+i, realm, 1)
				}
			},
			skipped: writes,
			seen: map[string]string{"_dht.list_gateways": `; 5 others: https://192\.0\.2\.7:9443, https://192\.0\.2\.7:9444, ` +
				`https://192\.0\.2\.7:9445 and 2 more$`},
			realm:   realm,
			verdict: `^ok: `,
		},
		"that knows the service": {
			prepare: func(g *glass.Gateway) { g.Store(greeter.Key, value("me")) },
			examine: []doctor.Option{doctor.WithKeys(greeter)},
			skipped: writes,
			seen:    map[string]string{"FIND_VALUE service greeter": `^1 value: me at https://127\.0\.0\.1:1$`},
			realm:   realm,
			verdict: `^ok: `,
		},
		"that does not know the service": {
			examine: []doctor.Option{doctor.WithKeys(greeter)},
			failed:  []string{"FIND_VALUE service greeter"},
			skipped: writes,
			seen:    map[string]string{"FIND_VALUE service greeter": `^nothing$`},
			realm:   realm,
			verdict: `^FAIL: .* has nothing stored under service greeter: `,
		},
		"that looks for the service for long": {
			gateway: []glass.Option{glass.MissTakes(3100 * time.Millisecond)},
			examine: []doctor.Option{doctor.WithKeys(greeter, doctor.Key{Name: "service second", Key: []byte("second")})},
			failed:  []string{"FIND_VALUE service greeter"},
			skipped: append([]string{"FIND_VALUE service second"}, writes...),
			seen:    map[string]string{"FIND_VALUE service second": `^not asked: the miss before it kept it busy for [0-9.]+s$`},
			realm:   realm,
			verdict: `^FAIL: `,
		},
		"slow": {
			prepare: func(g *glass.Gateway) {
				time.AfterFunc(800*time.Millisecond, g.HoldReplies(wire.TypePing))
			},
			examine: []doctor.Option{doctor.WithPings(3)},
			noted:   []string{"PING"},
			skipped: writes,
			realm:   realm,
			verdict: `^ok: .*; note: it is slow: one PING of a hundred takes [0-9.]+m?s$`,
		},
		"whose words are wild": {
			gateway: []glass.Option{glass.Realm("a\x1b[31m\n\tb")},
			prepare: func(g *glass.Gateway) { g.Store(greeter.Key, value("\x1b[2J\n\t")) },
			examine: []doctor.Option{doctor.WithKeys(greeter)},
			skipped: writes,
			realm:   "a\x1b[31m\n\tb",
			verdict: `^ok: .*"a\\x1b\[31m\\n\\tb"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := start(t, test.gateway...)
			if test.prepare != nil {
				test.prepare(g)
			}
			r := examine(t, g.Endpoint(), test.examine...)
			t.Logf("\n%s", r)
			assert.Equal(t, test.failed, names(r, doctor.Fail), "failed")
			assert.Equal(t, test.noted, names(r, doctor.Note), "noted")
			assert.Equal(t, test.skipped, names(r, doctor.Skipped), "skipped")
			for name, want := range test.seen {
				assert.Regexp(t, want, of(t, r, name).Seen, name)
			}
			assert.Regexp(t, test.verdict, r.Verdict())
			assert.Equal(t, test.realm, r.Realm)
			assert.Equal(t, g.ClientID(), r.ClientID)
			assert.Equal(t, g.NodeID(), r.NodeID)
			assert.True(t, r.Reachable)
			assert.Equal(t, len(test.failed) == 0, r.OK())
			table, _, _ := strings.Cut(r.String(), "\n\n")
			for line := range strings.Lines(table) {
				assert.LessOrEqual(t, utf8.RuneCountInString(strings.TrimRight(line, "\n")), 80, "whatever the words: %s", line)
			}
			for _, c := range r.Checks {
				assert.Equal(t, 1, strings.Count(table, "\n"+c.Name+" "), c.Name)
			}
			assert.NotContains(t, r.String(), "\x1b")
			requireUnharmed(t, g)
		})
	}
}

// TestOnlyHarmlessQuestions: these, and no others, reach the gateway; it stores
// nothing, but where it is told to two values under a key of their own.
func TestOnlyHarmlessQuestions(t *testing.T) {
	for name, test := range map[string]struct {
		opts   []doctor.Option
		frames map[wire.Type]int
	}{
		"reading": {nil, map[wire.Type]int{wire.TypePing: 3, wire.TypeNATProbe: 1, wire.TypeCall: 2, wire.TypeFindValue: 1}},
		"writing": {[]doctor.Option{doctor.WithWriting()},
			map[wire.Type]int{wire.TypePing: 3, wire.TypeNATProbe: 1, wire.TypeCall: 3, wire.TypeStore: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			g := start(t)
			require.Eventually(t, func() bool { return g.Stored([]byte(wire.GatewayPrefix+g.ClientID())) != nil }, patience, tick)
			r := examine(t, g.Endpoint(), append(test.opts, doctor.WithPings(3))...)
			require.True(t, r.OK(), r)
			stats := g.Stats()
			if name == "writing" {
				require.GreaterOrEqual(t, stats.Frames[wire.TypeFindValue], 3, "of its own key, and what was written")
				delete(stats.Frames, wire.TypeFindValue) // as often as it takes a STORE to arrive
				stored := g.Stored(r.Written)
				require.Len(t, stored, 2)
				for _, v := range stored {
					require.NoError(t, values.Harmless(v))
					id, _ := v.Field("node_id")
					text, _ := id.Bytes()
					require.Regexp(t, "^[0-9a-f]{64}$", string(text))
				}
			} else {
				require.Nil(t, r.Written)
			}
			require.Equal(t, test.frames, stats.Frames)
			require.Equal(t, 1, stats.Accepted, "over one connection")
			for asked, most := range stats.MostAsking {
				require.Equal(t, 1, most, "%s at a time", asked)
			}
			requireUnharmed(t, g)
		})
	}
}

// TestLeftAloneOnceSilent: after a question that it does not answer a gateway is
// asked nothing more.
func TestLeftAloneOnceSilent(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		silentOn  wire.Type
		failed    string
		reachable bool
		verdict   string
	}{
		"answers nothing":   {wire.TypePing, "PING", false, "does not answer PING: it is busy with its network, or hangs; "},
		"answers PING only": {wire.TypeNATProbe, "NAT_PROBE", true, "does not answer NAT_PROBE: "},
		"answers no CALL":   {wire.TypeCall, "_dht.list_gateways", true, "does not answer _dht.list_gateways: "},
		"answers no FIND_VALUE": {wire.TypeFindValue, "FIND_VALUE of its own key", true,
			"does not answer FIND_VALUE of its own key: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := start(t)
			letGo := g.HoldReplies(test.silentOn)
			defer letGo()
			time.AfterFunc(2*soon, letGo) // late, but then nothing is cut off
			r := examineWithin(t, t.Context(), g.Endpoint(), patience, soon, doctor.WithPings(1), doctor.WithKeys(greeter), doctor.WithWriting())
			t.Logf("\n%s", r)
			require.Equal(t, []string{test.failed}, names(r, doctor.Fail))
			require.Regexp(t, `no answer within [0-9.]+m?s$`, of(t, r, test.failed).Seen)
			require.Equal(t, test.reachable, r.Reachable)
			require.Contains(t, r.Verdict(), test.verdict)
			after := false
			for _, c := range r.Checks {
				if after {
					require.Equal(t, doctor.Skipped, c.Result, c.Name)
				}
				after = after || c.Name == test.failed
			}
			require.Equal(t, 1, g.Stats().Frames[test.silentOn])
			require.Zero(t, g.Stats().Frames[wire.TypeStore])
			requireUnharmed(t, g)
		})
	}
}

// TestNotConnected: each way of not getting through is told apart.
func TestNotConnected(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		endpoint func(*testing.T) string
		seen     string
		verdict  string
	}{
		"nobody there": {silence, `^no answer within [0-9.]+m?s$`, "can not be connected to (no answer within"},
		"busy with another handshake": {func(t *testing.T) string {
			g := start(t)
			t.Cleanup(g.OccupyHandshake())
			return g.Endpoint()
		}, "^connection refused$", "refuses to be connected to: it is busy with another handshake"},
		"speaks something else": {another, "^QUIC, but not the ALPN macula$", "is no gateway of Macula"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := examineWithin(t, t.Context(), test.endpoint(t), 2*soon, patience)
			require.Regexp(t, test.seen, of(t, r, "connection").Seen)
			require.Equal(t, []string{"connection"}, names(r, doctor.Fail))
			require.Len(t, names(r, doctor.Skipped), len(r.Checks)-1)
			require.False(t, r.Reachable)
			require.Contains(t, r.Verdict(), test.verdict)
		})
	}
}

// TestBrokenOff: nor is a gateway asked more that broke off the connection.
func TestBrokenOff(t *testing.T) {
	g := start(t)
	defer g.HoldReplies(wire.TypePing)()
	dropped := make(chan struct{})
	go func() {
		defer close(dropped)
		assert.Eventually(t, func() bool { return g.Stats().Asking[wire.TypePing] == 1 }, patience, tick)
		g.DropClients()
	}()
	r := examine(t, g.Endpoint(), doctor.WithWriting())
	<-dropped
	require.Equal(t, []string{"PING"}, names(r, doctor.Fail))
	require.Contains(t, of(t, r, "PING").Seen, "0 PONGs, then: ")
	require.Equal(t, "left alone: it broke the connection off", of(t, r, "NAT_PROBE").Seen)
	require.Contains(t, r.Verdict(), "breaks the connection off at PING")
	require.Equal(t, 1, g.Stats().Total())
	require.False(t, r.Reachable)
}

func TestBadEndpoint(t *testing.T) {
	d, err := dialer.New()
	require.NoError(t, err)
	defer d.Close()
	_, err = doctor.Examine(t.Context(), d, "127.0.0.1:9443")
	require.ErrorIs(t, err, endpoints.ErrBad)
}

// TestTimeIsUp: what was not looked at says so.
func TestTimeIsUp(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		end  func(context.Context) (context.Context, context.CancelFunc)
		says string
	}{
		"a deadline": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 2*soon)
		}, "the time is up"},
		"an interrupt": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(2*soon, cancel)
			return ctx, cancel
		}, "interrupted"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := start(t, glass.RegisterAfter(-1))
			ctx, cancel := test.end(t.Context())
			defer cancel()
			r := examineWithin(t, ctx, g.Endpoint(), patience, patience) // which waits for the entry
			require.Equal(t, []string{"_dht.list_gateways"}, names(r, doctor.Fail))
			require.Equal(t, test.says, of(t, r, "CALL").Seen)
			require.True(t, r.Reachable)
			requireUnharmed(t, g)
		})
	}
}

// TestBadReplies: answers that are none fail, and the other questions go on.
func TestBadReplies(t *testing.T) {
	g := start(t)
	require.Eventually(t, func() bool { return g.Stored([]byte(wire.GatewayPrefix+g.ClientID())) != nil }, patience, tick)
	g.ReplyWith(func(asked framing.Frame) []byte {
		b, err := framing.AppendFrame(nil, &wire.Pong{Timestamp: wire.Some(int64(1))})
		if err != nil {
			return nil
		}
		return b
	})
	r := examine(t, g.Endpoint(), doctor.WithRegistration(0), doctor.WithWriting())
	require.Equal(t, []string{"PING", "NAT_PROBE", "_dht.list_gateways", "CALL of no procedure", "_dht.store"}, names(r, doctor.Fail))
	require.Contains(t, of(t, r, "PING").Seen, "another timestamp")
	require.Contains(t, of(t, r, "NAT_PROBE").Seen, "answered by pong")
	require.Equal(t, "nothing was stored before it", of(t, r, "STORE").Seen)
	require.False(t, r.Reachable)
	requireUnharmed(t, g)
}

// TestClock: the clock of a NAT_PROBE_REPLY is compared with ours, and its
// request_id with what was sent.
func TestClock(t *testing.T) {
	for name, test := range map[string]struct {
		ahead  time.Duration
		id     string // of the request; empty for the one that was sent
		result doctor.Result
		says   string
	}{
		"right":             {0, "", doctor.OK, "192.0.2.7 port 9443; its node id " + strings.Repeat("6e", 6) + "…"},
		"an hour ahead":     {time.Hour, "", doctor.Note, "its clock is off by 1h0m0"},
		"an hour behind":    {-time.Hour, "", doctor.Note, "its clock is off by -1h0m0"},
		"another's request": {0, "another", doctor.Fail, "192.0.2.7"},
	} {
		t.Run(name, func(t *testing.T) {
			g := start(t)
			g.ReplyWith(func(asked framing.Frame) []byte {
				var reply wire.Message = &wire.Reply{} // which answers no CALL
				switch m, _ := asked.Decode(); m := m.(type) {
				case *wire.Ping:
					reply = &wire.Pong{Timestamp: m.Timestamp}
				case *wire.NATProbe:
					id := m.RequestID
					if test.id != "" {
						id = []byte(test.id)
					}
					reply = &wire.NATProbeReply{NodeID: []byte(strings.Repeat("n", 32)), RequestID: id, ReflexiveIP: "192.0.2.7", ReflexivePort: 9443,
						ServerTime: wire.Some(time.Now().Add(test.ahead).UnixMilli())}
				}
				b, err := framing.AppendFrame(nil, reply)
				if err != nil {
					return nil
				}
				return b
			})
			r := examine(t, g.Endpoint(), doctor.WithRegistration(0))
			probe := of(t, r, "NAT_PROBE")
			require.Equal(t, test.result, probe.Result, r)
			require.Contains(t, probe.Seen, test.says)
			requireUnharmed(t, g)
		})
	}
}

// TestObserved: each check is told of before it is made.
func TestObserved(t *testing.T) {
	g := start(t)
	var told, made []string
	r := examine(t, g.Endpoint(), doctor.WithWriting(), doctor.WithObserver(func(check string) {
		if !strings.HasPrefix(check, "waiting") {
			told = append(told, check)
		}
	}))
	for _, c := range r.Checks {
		made = append(made, c.Name)
	}
	require.Equal(t, made, told)
}
