package doctor

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/macula-mesh/macula-node/compat/wire/procedures"
)

// Result is what came of a check.
type Result string

// The results, as the table shows them.
const (
	OK      Result = "ok"
	Note    Result = "note" // unusual, but no fault
	Fail    Result = "FAIL"
	Skipped Result = "skipped" // not tried; Seen says why
)

// Check is one thing that was looked at. Its texts may be a peer's words: Table
// replaces what would steer a terminal, others must do so themselves.
type Check struct {
	Name     string
	Result   Result
	Seen     string
	Expected string
	Took     time.Duration // 0 where nothing was asked
	Advice   string        // what to do; with Fail and some Notes
}

// Report is what a gateway looked like. What could not be found out is empty.
type Report struct {
	Endpoint   string
	Reachable  bool                 // it answered a PING
	ClientID   string               // of its certificate, see identity.ClientID
	NodeID     []byte               // of its NAT_PROBE_REPLY, 32 bytes
	Own        *procedures.Gateway  // its own entry in _dht.list_gateways
	Realm      string               // of that entry
	Neighbours []procedures.Gateway // the other entries
	Handshake  time.Duration        // until it was connected to, its name resolved
	P50, P99   time.Duration        // of the PINGs
	Checks     []Check              // in the order in which they were made
	Written    []byte               // the key that was written to; nil where none was
}

// Failed returns the checks that failed.
func (r *Report) Failed() (failed []Check) {
	for _, c := range r.Checks {
		if c.Result == Fail {
			failed = append(failed, c)
		}
	}
	return failed
}

// IsErlang reports whether its own entry tells an Erlang node, which names itself
// otherwise there than in its NAT_PROBE_REPLY, from a macula-node.
func (r *Report) IsErlang() bool { return r.Own != nil && !bytes.Equal(r.Own.NodeID, r.NodeID) }

// OK reports whether no check failed.
func (r *Report) OK() bool { return len(r.Failed()) == 0 }

// Verdict says in one line how the gateway is, and what to do if it is not well.
func (r *Report) Verdict() string {
	failed := r.Failed()
	if len(failed) == 0 {
		text := fmt.Sprintf("ok: %s serves the realm %q and answers in %v", r.Endpoint, r.Realm, round(r.P50))
		for _, c := range r.Checks {
			if c.Result == Note && c.Advice != "" {
				text += "; note: " + c.Advice
			}
		}
		return printable(text)
	}
	text := "FAIL: " + r.Endpoint + " " + failed[0].Advice
	if more := len(failed) - 1; more > 0 {
		text += fmt.Sprintf(" (and %d more)", more)
	}
	return printable(text)
}

// longestCell is how many characters of a text the table shows.
const longestCell = 120

// Table writes one line a check, under a line of headings.
func (r *Report) Table(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "CHECK\tRESULT\tSEEN\tEXPECTED\tTIME")
	for _, c := range r.Checks {
		took := "-"
		if c.Took > 0 {
			took = round(c.Took).String()
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", cell(c.Name), c.Result, cell(c.Seen), cell(c.Expected), took)
	}
	return t.Flush()
}

// String returns the table and the verdict.
func (r *Report) String() string {
	var b strings.Builder
	r.Table(&b) // a Builder takes it all
	return b.String() + "\n" + r.Verdict() + "\n"
}

func cell(text string) string {
	if text == "" {
		return "-"
	}
	if runes := []rune(text); len(runes) > longestCell {
		text = string(runes[:longestCell-1]) + "…"
	}
	return printable(text)
}

// printable keeps a peer's words in their line.
func printable(text string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return unicode.ReplacementChar
	}, text)
}

// round returns a time with as many digits as people read.
func round(d time.Duration) time.Duration {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond)
	case d < 10*time.Millisecond:
		return d.Round(10 * time.Microsecond)
	case d < time.Second:
		return d.Round(time.Millisecond)
	}
	return d.Round(10 * time.Millisecond)
}
