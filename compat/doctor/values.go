package doctor

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
)

// ownKey asks for the key under which a gateway registered itself. It is asked
// of Erlang nodes alone, and only once their list has shown the entry: a
// macula-node lists itself without a key.
func (x *examination) ownKey(c *Check) {
	switch {
	case x.own == nil:
		c.skip("not asked: the entry is not there, and a miss would have it ask its peers")
		return
	case !x.report.IsErlang():
		c.skip("not asked: a macula-node has no such key")
		return
	}
	values, ok := x.values(c, append([]byte(wire.GatewayPrefix), x.own.NodeID...))
	switch {
	case !ok:
	case len(values) == 0:
		c.saw("nothing")
		c.fail("has no value under its own key though its list shows it: it may just have crashed and lost what it stored; try again")
	default:
		c.saw("%s", listed(providers(values), "value"))
	}
}

// longMiss is after how long a miss no further key is looked for: the gateway
// asks its peers for each one, and crashes over what takes it 10 s.
const longMiss = 3 * time.Second

func (x *examination) findValue(c *Check, key Key) {
	if x.busy != "" {
		c.skip("%s", x.busy)
		return
	}
	values, ok := x.values(c, key.Key)
	switch {
	case !ok:
	case len(values) == 0:
		c.saw("nothing")
		c.fail("has nothing stored under %s: see that who offers it runs, and stores it here", key.Name)
		if c.Took > longMiss {
			x.busy = fmt.Sprintf("not asked: the miss before it kept it busy for %v", round(c.Took))
		}
	default:
		c.saw("%s", listed(providers(values), "value"))
	}
}

// values returns what is stored under a key, unless that could not be asked.
func (x *examination) values(c *Check, key []byte) (values []wire.Raw, ok bool) {
	var reply *wire.FindValueReply
	if err := c.timed(func() (err error) {
		reply, err = client.FindValue(x.ctx, x.conn, x.contact, key)
		return err
	}); err != nil {
		x.failed(c, err)
		return nil, false
	}
	return reply.Values, true
}

// providers says of each value whose it is and where that is.
func providers(values []wire.Raw) (names []string) {
	text := func(v wire.Raw, field string) string {
		raw, _ := v.Field(field)
		b, _ := raw.Bytes()
		if !utf8.Valid(b) {
			return short(hex.EncodeToString(b))
		}
		return short(string(b))
	}
	for _, v := range values {
		name := text(v, "node_id")
		if name == "" {
			name = "nobody's"
		}
		for _, field := range []string{"endpoint", "address", "host"} {
			raw, _ := v.Field(field)
			if b, _ := raw.Bytes(); len(b) > 0 && utf8.Valid(b) {
				name += " at " + string(b)
				break
			}
		}
		names = append(names, name)
	}
	return names
}

// What is written: two values, by both ways, under one key.
const (
	writtenTTL = 60 // s, which an Erlang node does not heed
	byCall     = "macula-node doctor by _dht.store"
	byStore    = "macula-node doctor by STORE"

	arrival = 5 * time.Second        // for a STORE, which is not answered, to arrive
	lookIn  = 100 * time.Millisecond // between two looks for it
)

var writtenList = []int64{1, 2, 3}

// nodeID returns the node id of what is written by one way: 64 hexadecimal digits,
// as a shorter one crashes Erlang nodes.
func nodeID(by string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(by))) }

// written returns a value to write, which harms nobody: with a text, a list of
// integers and an empty one.
func written(by string) wire.Raw {
	var list []wire.Raw
	for _, i := range writtenList {
		list = append(list, wire.RawInt(i))
	}
	return wire.RawMap(
		wire.Pair{Key: "node_id", Value: wire.RawText(nodeID(by))},
		wire.Pair{Key: "ttl", Value: wire.RawInt(writtenTTL)},
		wire.Pair{Key: "text", Value: wire.RawText(by)},
		wire.Pair{Key: "list", Value: wire.RawArray(list...)},
		wire.Pair{Key: "empty", Value: wire.RawArray()},
	)
}

// writing stores two values and reads them back. _dht.store comes first, as it
// is acknowledged: the key is there from then on, and reading it no miss.
func (x *examination) writing() {
	service := "macula-node.doctor." + rand.Text()
	key := maculadht.ServiceKey(service)
	acknowledged := false
	steps := []struct {
		name, expected string
		do             func(*Check)
	}{
		{"_dht.store", "status ok", func(c *Check) {
			x.report.Written = key // it may arrive even if its answer does not
			err := c.timed(func() error {
				return client.Put(x.ctx, x.conn, x.contact, procedures.StoreArgs{Key: key, Value: written(byCall)})
			})
			if err != nil {
				x.failed(c, err)
				return
			}
			acknowledged = true
			c.saw("ok, service %s", service)
		}},
		{"STORE", "found by FIND_VALUE", func(c *Check) { x.store(c, key) }},
		{"what comes back", "as it was written", func(c *Check) { x.comesBack(c, key) }},
	}
	for i, step := range steps {
		x.check(step.name, step.expected, func(c *Check) {
			switch {
			case !x.write:
				c.skip("writes nothing without --write")
			case x.realm != "" && x.report.Realm != x.realm:
				c.skip("not written to: it may be another node than is meant, as its realm is not %q", x.realm)
			case i > 0 && !acknowledged:
				c.skip("nothing was stored before it")
			default:
				step.do(c)
			}
		})
	}
}

func (x *examination) store(c *Check, key []byte) {
	if err := c.timed(func() error {
		return x.conn.Send(x.ctx, x.contact, &wire.Store{Key: key, Value: written(byStore)})
	}); err != nil {
		x.failed(c, err)
		return
	}
	for deadline := time.Now().Add(arrival); ; {
		values, ok := x.values(c, key)
		switch {
		case !ok:
			return
		case find(values, byStore) != nil:
			c.saw("found, with %s", listed(providers(values), "value"))
			return
		case len(values) == 0 || time.Now().After(deadline):
			c.saw("not found, but %s", listed(providers(values), "value"))
			c.fail("does not keep what is STOREd, though it keeps what _dht.store gives it")
			return
		}
		select {
		case <-time.After(lookIn):
		case <-x.ctx.Done():
			x.failed(c, context.Cause(x.ctx))
			return
		}
	}
}

// find returns the value that was written by one way.
func find(values []wire.Raw, by string) wire.Raw {
	for _, v := range values {
		if id, _ := v.Field("node_id"); isText(id, nodeID(by)) {
			return v
		}
	}
	return nil
}

func isText(v wire.Raw, want string) bool {
	b, ok := v.Bytes()
	return ok && string(b) == want
}

// comesBack compares what was written. An Erlang node changes lists of integers
// into texts of as many characters, which still can be read as what they were.
func (x *examination) comesBack(c *Check, key []byte) {
	values, ok := x.values(c, key)
	if !ok {
		return
	}
	for _, by := range []string{byCall, byStore} {
		v := find(values, by)
		if v == nil {
			c.saw("nothing of %q", by)
			c.fail("has lost what was written to it a moment ago")
			return
		}
		sent := written(by)
		text, _ := v.Field("text")
		list, _ := v.Field("list")
		empty, _ := v.Field("empty")
		ints, isInts := list.Ints()
		none, isList := empty.Ints()
		switch {
		case text.Kind() != wire.Bin || !isText(text, by):
			c.saw("a text came back as %s", shown(text))
			c.fail("changes texts that it stores: bin came back as %s", text.Kind())
		case !isInts || !slices.Equal(ints, writtenList):
			c.saw("[1,2,3] came back as %s", shown(list))
			c.fail("changes lists that it stores beyond what can be read back")
		case !isList || len(none) > 0:
			c.saw("[] came back as %s", shown(empty))
			c.fail("changes empty lists that it stores beyond what can be read back")
		case bytes.Equal(v, sent):
			c.saw("both values, byte for byte")
			continue
		case list.Kind() != wire.Array:
			c.saw("both values; lists of integers as %s, which Erlang nodes do", list.Kind())
			continue
		default:
			c.saw("both values, in another order of fields")
			continue
		}
		return
	}
}

func shown(v wire.Raw) string {
	if v == nil {
		return "nothing"
	}
	text, err := v.MarshalJSON()
	if err != nil {
		return v.Kind().String()
	}
	return string(text)
}
