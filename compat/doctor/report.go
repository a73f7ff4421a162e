package doctor

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/internal/wrap"
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

// longestName is how wide the column of names is at most.
const longestName = 34

// Table writes the checks under a line of headings, in lines of 80 columns: what is longer
// goes on below. What was expected stands under what was seen instead, where that is not ok.
func (r *Report) Table(w io.Writer) error {
	rows := [][4][]string{{{"CHECK"}, {"RESULT"}, {"TIME"}, {"SEEN"}}}
	widths := [3]int{len("CHECK"), len(Skipped), len("TIME")}
	for _, c := range r.Checks {
		took := "-"
		if c.Took > 0 {
			took = round(c.Took).String()
		}
		name := wrap.Lines(cell(c.Name), longestName)
		for _, line := range name {
			widths[0] = max(widths[0], utf8.RuneCountInString(line))
		}
		widths[2] = max(widths[2], utf8.RuneCountInString(took))
		seen := []string{cell(c.Seen)}
		if c.Result != OK {
			seen = append(seen, "expected: "+cell(c.Expected))
		}
		rows = append(rows, [4][]string{name, {string(c.Result)}, {took}, seen})
	}
	const gap = 2
	left := wrap.Columns - widths[0] - widths[1] - widths[2] - 3*gap
	var text strings.Builder
	for _, row := range rows {
		var seen []string
		for _, part := range row[3] {
			seen = append(seen, wrap.Lines(part, left)...)
		}
		row[3] = seen
		for i := range max(len(row[0]), len(seen)) {
			line := ""
			for column, lines := range row {
				at := ""
				if i < len(lines) {
					at = lines[i]
				}
				if line += at; column < len(widths) {
					line += strings.Repeat(" ", widths[column]-utf8.RuneCountInString(at)+gap)
				}
			}
			fmt.Fprintln(&text, strings.TrimRight(line, " "))
		}
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// String returns the table and the verdict.
func (r *Report) String() string {
	var b strings.Builder
	r.Table(&b) // a Builder takes it all
	return b.String() + "\n" + strings.Join(wrap.Words(r.Verdict(), wrap.Columns), "\n") + "\n"
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
