package doctor

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

func (x *examination) connection(c *Check) {
	err := c.timed(func() (err error) {
		x.conn, err = x.dialer.Acquire(x.ctx, x.endpoint)
		return err
	})
	if err != nil {
		c.Seen = words(err, c.Took)
		x.stopped = "not connected"
		switch {
		case errors.Is(err, identity.ErrCertificate):
			c.fail("is not who it should be: %s", c.Seen)
		case c.Seen == wordsRefused:
			c.fail("refuses to be connected to: it is busy with another handshake, or full; try again")
		case c.Seen == wordsNoALPN:
			c.fail("is no gateway of Macula: it speaks QUIC, but not the ALPN %s; check the port", dialer.ALPN)
		default:
			c.fail("can not be connected to (%s): check the address, that the node runs, and that its UDP port can be reached from here", c.Seen)
		}
		return
	}
	x.report.Handshake = c.Took
	c.saw("connected to %s", x.conn.RemoteAddr())
}

func (x *examination) certificate(c *Check) {
	cert := x.conn.Certificate()
	if cert == nil {
		c.saw("none")
		c.fail("shows no certificate")
		return
	}
	var seen []string
	if cert.CheckSignatureFrom(cert) == nil || bytes.Equal(cert.RawIssuer, cert.RawSubject) {
		seen = append(seen, "self-signed")
	} else {
		seen = append(seen, fmt.Sprintf("signed by %q", cert.Issuer))
	}
	if names := namesOf(cert); len(names) > 0 {
		seen = append(seen, "for "+strings.Join(names, " "))
	}
	seen = append(seen, "until "+cert.NotAfter.UTC().Format(time.DateOnly))
	if id, err := identity.ClientID(cert); err != nil {
		seen = append(seen, "no client id: "+err.Error())
	} else {
		x.report.ClientID = id
		seen = append(seen, "client id "+short(id))
	}
	c.Seen = strings.Join(seen, ", ")
	switch now := time.Now(); {
	case now.After(cert.NotAfter):
		c.note("its certificate has expired, which Erlang nodes do not look at by default")
	case now.Before(cert.NotBefore):
		c.note("its certificate begins to be valid at %s, or a clock is wrong", cert.NotBefore.UTC().Format(time.RFC3339))
	}
}

// namesOf returns for whom a certificate is.
func namesOf(cert *x509.Certificate) []string {
	names := slices.Clone(cert.DNSNames)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 && cert.Subject.CommonName != "" {
		names = []string{cert.Subject.CommonName}
	}
	return names
}

// ping times round trips, one after the other, on the connection that is there.
func (x *examination) ping(c *Check) {
	begin := time.Now()
	var took []time.Duration
	var err error
	for len(took) < x.pings && (len(took) == 0 || time.Since(begin) < pingTime) {
		var rtt time.Duration
		if err = c.timed(func() (err error) {
			rtt, err = client.Ping(x.ctx, x.conn, x.contact)
			return err
		}); err != nil {
			break
		}
		took = append(took, rtt)
	}
	x.report.Reachable = len(took) > 0
	if err != nil {
		x.failed(c, err)
		c.saw("%d PONGs, then: %s", len(took), c.Seen)
		return
	}
	slices.Sort(took)
	x.report.P50, x.report.P99 = percentile(took, 50), percentile(took, 99)
	c.saw("%d of %d, p50 %v, p99 %v", len(took), len(took), round(x.report.P50), round(x.report.P99))
	if x.report.P99 > slowPing {
		c.note("it is slow: one PING of a hundred takes %v", round(x.report.P99))
	}
}

// percentile returns the nearest rank in times that are sorted and not none.
func percentile(sorted []time.Duration, p int) time.Duration {
	return sorted[(len(sorted)*p+99)/100-1]
}

// probeID is the node id in our NAT_PROBE: always the same, so that a gateway
// that remembers who asked remembers one.
var probeID = sha256.Sum256([]byte("macula-node doctor"))

func (x *examination) natProbe(c *Check) {
	request := make([]byte, 16)
	rand.Read(request) // never fails
	var reply *wire.NATProbeReply
	asked := time.Now()
	err := c.timed(func() error {
		m, err := x.conn.Query(x.ctx, x.contact, &wire.NATProbe{
			NodeID:    probeID[:],
			LocalPort: wire.Some(int64(x.conn.LocalPort())),
			RequestID: request,
		})
		if err != nil {
			return err
		}
		var ok bool
		if reply, ok = m.(*wire.NATProbeReply); !ok {
			return &proto.RemoteError{Code: wire.CodeWrongReply, Message: m.Type().String()}
		}
		return nil
	})
	if err != nil {
		x.failed(c, err)
		return
	}
	x.report.NodeID = bytes.Clone(reply.NodeID)
	c.saw("%s port %d; its node id %s", reply.ReflexiveIP, reply.ReflexivePort, short(hex.EncodeToString(reply.NodeID)))
	switch {
	case !bytes.Equal(reply.RequestID, request):
		c.fail("answers a NAT_PROBE with the request_id of another")
	case reply.ServerTime.Set:
		ahead := wire.TimeOfMilli(reply.ServerTime.V).Sub(asked.Add(c.Took / 2))
		if ahead.Abs() > clockSkew {
			c.saw("%s; its clock is off by %v", c.Seen, ahead.Round(time.Second))
			c.note("its clock and ours differ by %v", ahead.Abs().Round(time.Second))
		}
	}
}

// entry is a gateway's own one in its list.
type entry struct {
	procedures.Gateway
	by string // how it was told from the others
}

const (
	byCertificate = "certificate"
	byNodeID      = "node id" // as a macula-node has it
	byAddress     = "address"
)

// gateways looks for the gateway's own entry, and waits for it to register
// itself.
func (x *examination) gateways(c *Check) {
	deadline := time.Now().Add(x.registration)
	for {
		var list procedures.GatewayList
		if err := c.timed(func() (err error) {
			list, err = client.ListGateways(x.ctx, x.conn, x.contact)
			return err
		}); err != nil {
			x.failed(c, err)
			return
		}
		x.own = x.ownOf(list)
		x.report.Neighbours = x.others(list)
		left := time.Until(deadline)
		if x.own != nil || left <= 0 {
			break
		}
		x.observe("waiting for its own entry in " + c.Name)
		select {
		case <-time.After(min(askAgain, left)):
		case <-x.ctx.Done():
			x.failed(c, context.Cause(x.ctx))
			return
		}
	}
	if x.own == nil {
		c.saw("%s", x.neighbours("no own entry"))
		c.fail("lists no entry of its own: it has not registered itself, or does so under a NODE_ID and another host name than was dialled; compare macula-node gateways %s", x.report.Endpoint)
		return
	}
	x.report.Own, x.report.Realm = &x.own.Gateway, x.own.Realm
	seen := "itself, by its " + x.own.by
	if x.own.RegisteredAt.Set {
		seen += fmt.Sprintf(", registered %v ago", max(0, time.Since(wire.TimeOfSeconds(x.own.RegisteredAt.V)).Round(time.Second)))
	}
	c.Seen = x.neighbours(seen)
}

// ownOf returns the entry of the gateway that was asked: by the id of its
// certificate, as Erlang nodes name themselves, by the node id that its
// NAT_PROBE_REPLY named, as a macula-node does, or by where it was dialled, the
// newest of these.
func (x *examination) ownOf(list procedures.GatewayList) *entry {
	var own *entry
	for _, g := range list {
		switch {
		case identity.IsClientID(g.NodeID, x.report.ClientID):
			return &entry{g, byCertificate}
		case len(x.report.NodeID) > 0 && bytes.Equal(g.NodeID, x.report.NodeID):
			own = &entry{g, byNodeID}
		case own != nil && own.by == byNodeID:
		case x.isHere(g) && (own == nil || g.RegisteredAt.V > own.RegisteredAt.V):
			own = &entry{g, byAddress}
		}
	}
	return own
}

// isHere reports whether an entry is at the endpoint that was dialled.
func (x *examination) isHere(g procedures.Gateway) bool {
	at, err := g.Endpoint()
	return err == nil && at == x.endpoint
}

// others returns the entries that are not the gateway's own.
func (x *examination) others(list procedures.GatewayList) (others []procedures.Gateway) {
	for _, g := range list {
		if x.own == nil || !bytes.Equal(g.NodeID, x.own.NodeID) {
			others = append(others, g)
		}
	}
	return others
}

// mostNamed is how many of a list the table names.
const mostNamed = 3

func (x *examination) neighbours(seen string) string {
	var names []string
	for _, g := range x.report.Neighbours {
		names = append(names, endpoints.Endpoint{Host: g.Host, Port: uint16(g.Port)}.String())
	}
	return seen + "; " + listed(names, "other")
}

// listed counts things and names the first of them.
func listed(names []string, what string) string {
	if len(names) == 0 {
		return "no " + what + "s"
	}
	text := fmt.Sprintf("%d %s", len(names), what)
	if len(names) > 1 {
		text += "s"
	}
	text += ": " + strings.Join(names[:min(len(names), mostNamed)], ", ")
	if more := len(names) - mostNamed; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

func (x *examination) expectedRealm() string {
	if x.realm == "" {
		return "any"
	}
	return fmt.Sprintf("%q", x.realm)
}

func (x *examination) realmOfEntry(c *Check) {
	switch {
	case x.own == nil:
		c.saw("unknown without its own entry")
		if x.realm == "" {
			c.Result = Skipped
			return
		}
		c.fail("may serve another realm than %q, which can not be told without its own entry", x.realm)
	case x.realm == "":
		c.saw("%q", x.own.Realm)
	case x.own.Realm == x.realm:
		c.saw("%q, match", x.own.Realm)
	default:
		c.saw("%q, mismatch", x.own.Realm)
		c.fail("serves the realm %q, not %q: a node of that realm must not CONNECT to it, which hangs it; give one of them the other's realm", x.own.Realm, x.realm)
	}
}

// noProcedure is one that nobody has.
const noProcedure = "macula-node.doctor.no-such-procedure"

// call asks for a procedure that is not the DHT's, which changes nothing and
// comes back from a gateway as gateway_bootstrap_only.
func (x *examination) call(c *Check) {
	id := make([]byte, 16)
	rand.Read(id) // never fails
	err := c.timed(func() error {
		_, err := x.conn.Query(x.ctx, x.contact, &wire.Call{Procedure: noProcedure, Args: wire.RawMap(), CallID: id})
		return err
	})
	remote, ok := errors.AsType[*proto.RemoteError](err)
	switch {
	case err == nil:
		c.saw("a result")
		c.note("it answers a procedure that nobody has")
	case ok && remote.Code == wire.CodeBootstrapOnly:
		c.saw("%s", remote.Code)
	default:
		x.failed(c, err)
	}
}

// short is the beginning of an id, enough to tell it from others.
func short(id string) string {
	const whole, digits = 32, 12
	if len(id) <= whole {
		return id
	}
	return strings.ToValidUTF8(id[:digits], "") + "…"
}
