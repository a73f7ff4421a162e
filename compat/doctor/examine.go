package doctor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

const (
	pingTime  = 3 * time.Second        // no further PING after it
	askAgain  = 2 * time.Second        // between two looks for its own entry
	slowPing  = 500 * time.Millisecond // a P99 above it is noted
	clockSkew = 5 * time.Second        // more than it is noted
)

// Key is something that the gateway is expected to store.
type Key struct {
	Name string // for people, such as "service greeter"
	Key  []byte
}

// Examine looks at the gateway at an endpoint, through d, which also knows the
// endpoint's pin if it has one (dialer.WithPins). What it finds wrong is in the
// report; the error is a endpoints.ErrBad, what an option refuses, or that d does not know
// the pin.
func Examine(ctx context.Context, d *dialer.Dialer, endpoint string, opts ...Option) (*Report, error) {
	at, err := identity.ParsePinnedEndpoint(endpoint)
	if err != nil {
		return nil, err
	}
	if !d.Holds(at) {
		return nil, fmt.Errorf("%s has the pin %s, which the dialer does not know: give it to dialer.WithPins", at, at.Pin)
	}
	cfg := config{pings: DefaultPings, registration: DefaultRegistration, observe: func(string) {}}
	for _, opt := range opts {
		if opt == nil {
			return nil, errors.New("doctor: a nil option")
		}
		if err := opt(&cfg); err != nil {
			return nil, fmt.Errorf("doctor: %w", err)
		}
	}
	x := &examination{
		config:   cfg,
		ctx:      ctx,
		dialer:   d,
		endpoint: at.Endpoint,
		contact:  routing.Contact{Endpoint: at.String()},
		report:   &Report{Endpoint: at.String()},
	}
	x.run()
	if x.conn != nil {
		x.conn.Release()
	}
	return x.report, nil
}

// examination is one run through all checks, in turn.
type examination struct {
	config
	ctx      context.Context // of Examine, which returns after the last check
	dialer   *dialer.Dialer
	endpoint endpoints.Endpoint
	contact  routing.Contact
	report   *Report
	stopped  string // why no more is asked; empty while it goes on

	conn *dialer.Conn // the only one, over which all is asked; nil where there is none
	own  *entry       // nil where it was not found
	busy string       // why no further key is looked for
}

func (x *examination) run() {
	x.check("connection", "a QUIC connection, ALPN "+dialer.ALPN, x.connection)
	x.check("certificate", "valid now; who signed it does not matter", x.certificate)
	x.check("PING", "PONG with our timestamp", x.ping)
	x.check("NAT_PROBE", "our address as it sees it", x.natProbe)
	x.check("_dht.list_gateways", "its own entry", x.gateways)
	x.check("realm", x.expectedRealm(), x.realmOfEntry)
	x.check("CALL of no procedure", "gateway_bootstrap_only", x.call)
	x.check("FIND_VALUE of its own key", "its own entry", x.ownKey)
	for _, key := range x.keys {
		x.check("FIND_VALUE "+key.Name, "a value or more", func(c *Check) { x.findValue(c, key) })
	}
	x.writing()
}

// check makes a check, unless no more is asked, and takes its time if it has
// none of its own.
func (x *examination) check(name, expected string, f func(*Check)) {
	c := Check{Name: name, Expected: expected, Result: OK}
	defer func() { x.report.Checks = append(x.report.Checks, c) }()
	if x.stopped != "" {
		c.skip("%s", x.stopped)
		return
	}
	x.observe(name)
	f(&c)
}

// timed runs f and has the check say how long that took.
func (c *Check) timed(f func() error) error {
	start := time.Now()
	err := f()
	c.Took += time.Since(start)
	return err
}

func (c *Check) saw(format string, args ...any) { c.Seen = fmt.Sprintf(format, args...) }

func (c *Check) skip(format string, args ...any) {
	c.Result = Skipped
	c.saw(format, args...)
}

// note and fail say what to do about what was seen.
func (c *Check) note(advice string, args ...any) {
	c.Result, c.Advice = Note, fmt.Sprintf(advice, args...)
}

func (c *Check) fail(advice string, args ...any) {
	c.Result, c.Advice = Fail, fmt.Sprintf(advice, args...)
}

// failed takes an error of asking, and ends the examination where the gateway
// has kept silent or broken the connection off.
func (x *examination) failed(c *Check, err error) {
	c.Seen = words(err, c.Took)
	switch {
	case errors.Is(x.ctx.Err(), context.Canceled):
		x.stopped = "interrupted"
		c.fail("had not answered %s when it was interrupted", c.Name)
	case x.ctx.Err() != nil:
		x.stopped = "the time is up"
		c.fail("had not answered %s when the time was up", c.Name)
	case isSilence(err):
		x.stopped = "left alone: it kept silent"
		c.fail("does not answer %s: it is busy with its network, or hangs; try again in some minutes, and restart it if nothing changes", c.Name)
	case errors.Is(err, proto.ErrUnreachable):
		x.stopped = "left alone: it broke the connection off"
		c.fail("breaks the connection off at %s (%s): it has crashed or was restarted; look at its log, then try again", c.Name, c.Seen)
	default:
		c.fail("answers %s by: %s", c.Name, c.Seen)
	}
}
