package interop

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/compat/doctor"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/interop/glass"
	"github.com/macula-mesh/macula-node/node"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// Which real nodes the live suite is run against (docs/INTEROP.md).
var (
	liveEndpoints = flag.String("erlang", "", "https://HOST:PORT of Erlang nodes to run TestLive against, separated by commas; it writes to them")
	liveRealm     = flag.String("realm", "", "the realm of the nodes of -erlang")
)

// TestLive tries real Erlang nodes and prints, for each, a table of what was
// tried, seen and expected.
func TestLive(t *testing.T) {
	if *liveEndpoints == "" {
		t.Skip("no real nodes given; to try some of a test network, as it writes to them: " +
			"go test ./interop -run 'TestLive$' -v -erlang https://HOST:PORT[,https://HOST:PORT…] -realm REALM")
	}
	require.NotEmpty(t, *liveRealm, "-realm REALM is missing: the one that the nodes of -erlang serve")
	for _, r := range tryLive(t, *liveRealm, strings.Split(*liveEndpoints, ",")...) {
		t.Run(r.Endpoint, func(t *testing.T) {
			t.Logf("\n%s", r)
			for _, c := range r.Failed() {
				t.Errorf("%s: saw %s, expected %s: it %s", c.Name, c.Seen, c.Expected, c.Advice)
			}
		})
	}
}

// live is a suite under way.
type live struct {
	tb     testing.TB
	dialer *dialer.Dialer
	realm  string
}

// tryLive tries nodes one after the other, and the program beside them. A node
// of which a check fails is asked nothing more.
func tryLive(tb testing.TB, realm string, endpoints ...string) (reports []*doctor.Report) {
	tb.Helper()
	var parsed []identity.PinnedEndpoint // with their pins
	for _, endpoint := range endpoints {
		e, err := identity.ParsePinnedEndpoint(strings.TrimSpace(endpoint))
		require.NoError(tb, err)
		parsed = append(parsed, e)
	}
	d, err := dialer.New(dialer.WithPins(parsed...))
	require.NoError(tb, err)
	defer func() { assert.NoError(tb, d.Close()) }()
	l := &live{tb, d, realm}
	var earlier *doctor.Report // of a node that did well
	for _, endpoint := range endpoints {
		r := l.examine(strings.TrimSpace(endpoint))
		reports = append(reports, r)
		if !r.OK() || !r.IsErlang() {
			continue
		}
		l.program(r)
		l.ourNode(r)
		if earlier != nil {
			l.carry(earlier, r)
		}
		earlier = r
	}
	return append(reports, l.examine(startProcessIn(tb, realm).Endpoints[0]))
}

func (l *live) examine(endpoint string) *doctor.Report {
	l.tb.Helper()
	r, err := doctor.Examine(l.tb.Context(), l.dialer, endpoint, doctor.WithRealm(l.realm), doctor.WithWriting())
	require.NoError(l.tb, err)
	return r
}

// try adds to a report what came of one thing more, unless an earlier one
// failed.
func try(r *doctor.Report, name, expected string, f func() (seen string, err error)) {
	c := doctor.Check{Name: name, Expected: expected, Result: doctor.OK}
	if r.OK() {
		start := time.Now()
		var err error
		c.Seen, err = f()
		c.Took = time.Since(start)
		if err != nil {
			c.Result, c.Seen, c.Advice = doctor.Fail, err.Error(), "fails at: "+name
		}
	} else {
		c.Result, c.Seen = doctor.Skipped, "a check before it failed"
	}
	r.Checks = append(r.Checks, c)
}

// program has the real program read what the node stores.
func (l *live) program(r *doctor.Report) {
	read := func(key string, field, want string) (string, error) {
		out, code := cli(l.tb, "get", "--json", r.Endpoint, key)
		var g got
		if err := json.Unmarshal([]byte(out), &g); code != 0 || err != nil {
			return "", fmt.Errorf("exit code %d: %s", code, out)
		}
		for _, v := range g.Values {
			if v[field] == want {
				return fmt.Sprintf("%s %q", field, want), nil
			}
		}
		return "", fmt.Errorf("no %s %q in %s", field, want, out)
	}
	try(r, "get of its own key, by the program", "its realm", func() (string, error) {
		return read(wire.GatewayPrefix+string(r.Own.NodeID), "realm", l.realm)
	})
	try(r, "get of what was written, by the program", "the value", func() (string, error) {
		return read(hex.EncodeToString(r.Written), "text", "macula-node doctor by STORE")
	})
	try(r, "gateways, by the program", "its own entry", func() (string, error) {
		out, code := cli(l.tb, "gateways", "--json", r.Endpoint)
		if code != 0 || !strings.Contains(out, string(r.Own.NodeID)) {
			return "", fmt.Errorf("exit code %d: %s", code, out)
		}
		return "listed", nil
	})
}

// ourNode has a node of ours that knows the Erlang one alone find what is stored
// there. One that knew two could ask the other in vain, which then asks all that
// it knows.
func (l *live) ourNode(r *doctor.Report) {
	try(r, "a lookup by our node", "what the Erlang node stores", func() (seen string, err error) {
		key, _, err := crypto.GenerateEd25519Key(rand.Reader)
		if err != nil {
			return "", err
		}
		n, err := node.New(node.Config{Key: key, Realm: l.realm, Listen: []string{"/ip4/127.0.0.1/udp/0/quic-v1"}})
		if err != nil {
			return "", err
		}
		defer func() { err = errors.Join(err, n.Close()) }()
		if err := n.Service().Routing().Admit(contact(r)); err != nil {
			return "", err
		}
		ctx, cancel := context.WithTimeout(l.tb.Context(), 2*patience)
		defer cancel()
		found, err := n.Service().FindValues(ctx, r.Written)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%d values", len(found.Values)), nil
	})
}

// contact is the node of a report as a routing table has it.
func contact(r *doctor.Report) routing.Contact {
	id := r.Own.NodeID
	return routing.Contact{ID: routing.IDFromBytes(id), NodeID: id, Endpoint: r.Endpoint, Verified: true, LastSeen: time.Now()}
}

// carry takes a value from one node to another: there it is what it was.
func (l *live) carry(from, to *doctor.Report) {
	try(to, "a value carried over from "+from.Endpoint, "the same here", func() (string, error) {
		ctx, cancel := context.WithTimeout(l.tb.Context(), 2*patience)
		defer cancel()
		there, err := client.FindValue(ctx, l.dialer, contact(from), from.Written)
		if err != nil || len(there.Values) == 0 {
			return "", fmt.Errorf("%d values there: %w", len(there.Values), err)
		}
		value := there.Values[0]
		if err := client.Put(ctx, l.dialer, contact(to), procedures.StoreArgs{Key: from.Written, Value: value}); err != nil {
			return "", err
		}
		here, err := client.FindValue(ctx, l.dialer, contact(to), from.Written)
		if err != nil {
			return "", err
		}
		for _, v := range here.Values {
			if sameFields(v, value) {
				return "the same", nil
			}
		}
		return "", fmt.Errorf("%d values, none the same", len(here.Values))
	})
}

// sameFields compares maps whatever the order of their fields.
func sameFields(a, b wire.Raw) bool {
	fields := func(v wire.Raw) (n int) {
		for range v.Fields() {
			n++
		}
		return n
	}
	for name, value := range a.Fields() {
		key, _ := name.Bytes()
		if other, ok := b.Field(string(key)); !ok || !bytes.Equal(value, other) {
			return false
		}
	}
	return fields(a) == fields(b)
}

// TestLiveSuite proves the live suite on doubles: it passes where all is well,
// breaks nothing, and tells where something is not.
func TestLiveSuite(t *testing.T) {
	double := func(t *testing.T) *glass.Gateway {
		g, err := glass.Start(glass.Realm(testRealm), glass.RegisterAfter(0))
		require.NoError(t, err)
		t.Cleanup(func() {
			require.Eventually(t, func() bool { return g.Stats().Open == 0 }, patience, tick, "its connections are closed")
			require.Empty(t, g.Broken())
			require.Empty(t, g.Lapses())
			require.NoError(t, g.Close())
		})
		return g
	}
	t.Run("two nodes", func(t *testing.T) {
		a, b := double(t), double(t)
		reports := tryLive(t, testRealm, a.Endpoint(), " "+b.Endpoint())
		require.Len(t, reports, 3, "and the program")
		for _, r := range reports {
			t.Logf("\n%s", r)
			require.True(t, r.OK())
			require.True(t, r.Reachable)
		}
		require.True(t, slices.ContainsFunc(reports[1].Checks, func(c doctor.Check) bool { return c.Name == "a value carried over from "+a.Endpoint() }))
		require.Len(t, b.Stored(reports[0].Written), 1)
	})
	t.Run("of another realm", func(t *testing.T) {
		reports := tryLive(t, "other", double(t).Endpoint())
		require.Equal(t, "realm", reports[0].Failed()[0].Name)
		require.Empty(t, reports[1].Failed())
	})
	t.Run("what it loses", func(t *testing.T) {
		g := double(t)
		r := &doctor.Report{Endpoint: g.Endpoint(), Own: &procedures.Gateway{NodeID: []byte("nobody")}, Written: []byte("nothing")}
		l := &live{t, nil, testRealm}
		l.program(r)
		require.Len(t, r.Failed(), 1)
		require.Equal(t, "get of its own key, by the program", r.Failed()[0].Name)
		require.Equal(t, doctor.Skipped, r.Checks[1].Result, "nothing more after it")
		r.Checks = nil
		l.ourNode(r)
		require.Len(t, r.Failed(), 1, r)
	})
}
