package view

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/terminal"
	"github.com/macula-mesh/macula-node/internal/wrap"
	"github.com/macula-mesh/macula-node/node"
	"github.com/macula-mesh/macula-node/node/api/schema"
)

// Status prints how a node is.
func Status(out io.Writer, s schema.Status) error {
	var text bytes.Buffer
	up := (time.Duration(s.Uptime * float64(time.Second))).Round(time.Second)
	head := fmt.Sprintf("macula-node %s runs on %s, with the pid %d, for %v", s.Version, terminal.Legible(s.DataDir), s.PID, up)
	fmt.Fprintf(&text, "%s\n\n", strings.Join(wrap.Words(head, wrap.Columns), "\n"))
	err := terminal.Table(&text, func(w io.Writer) {
		fmt.Fprintf(w, "  peer id\t%s\n", s.PeerID)
		fmt.Fprintf(w, "  node id\t%s\n", s.NodeID)
		fmt.Fprintf(w, "  realm\t%s\n", terminal.Legible(s.Realm))
		fmt.Fprintf(w, "  mode\t%s\n", s.Mode)
		fmt.Fprintf(w, "  libp2p\t%s\n", strings.Join(s.Addrs, "\n\t"))
		fmt.Fprintf(w, "  Erlang\t%s\n", strings.Join(s.Endpoints, "\n\t"))
		if s.API != "" {
			fmt.Fprintf(w, "  API\t%s\n", s.API)
		}
		fmt.Fprintf(w, "  contacts\t%d\n", s.Contacts)
		if len(s.Bootstrap) > 0 {
			fmt.Fprintf(w, "  bootstrap\t%s\n", bootstrapText(s.Bootstrap))
		}
		fmt.Fprintf(w, "  records\t%d under %s, %s of %s\n", s.Records.Records, terminal.Plural(int(s.Records.Keys), "key"),
			terminal.Bytes(s.Records.Bytes), terminal.Bytes(s.Records.Limit))
		fmt.Fprintf(w, "  store\t%s\n", cell(storeText(s.Store)))
		fmt.Fprintf(w, "  memory\t%s\n", cell(memoryText(s.Memory)))
		if refused := refusedTexts(s.Refused); len(refused) > 0 {
			fmt.Fprintf(w, "  refused\t%s\n", cells(refused))
		}
		if len(s.Problems) == 0 {
			fmt.Fprintf(w, "  well\tyes\n")
		} else {
			fmt.Fprintf(w, "  well\t%s\n", cells(append([]string{"no: " + s.Problems[0]}, s.Problems[1:]...)))
		}
	})
	if err != nil {
		return err
	}
	_, err = text.WriteTo(out)
	return err
}

// labels is how wide the column before the values is.
const labels = len("  bootstrap  ")

// cell has a value fit a terminal, in lines below each other.
func cell(text string) string {
	return strings.Join(wrap.Words(terminal.Legible(text), wrap.Columns-labels), "\n\t")
}

// cells is cell of several.
func cells(texts []string) string {
	for i, text := range texts {
		texts[i] = cell(text)
	}
	return strings.Join(texts, "\n\t")
}

// bootstrapText says how many addresses led into a network, and which did not.
func bootstrapText(all []schema.Bootstrap) string {
	var others []string
	for _, b := range all {
		if b.State != schema.BootstrapJoined {
			others = append(others, terminal.Legible(strings.ReplaceAll(b.State, "_", " ")+": "+b.Addr))
		}
	}
	joined := fmt.Sprintf("%d of %d joined", len(all)-len(others), len(all))
	return cells(append([]string{joined}, others...))
}

// refusedTexts says what was refused since the start, and why.
func refusedTexts(r schema.Refused) (texts []string) {
	tell := func(n uint64, one, more string) {
		if n == 1 {
			texts = append(texts, "1 "+one)
		} else if n > 1 {
			texts = append(texts, fmt.Sprintf("%d %s", n, more))
		}
	}
	tell(r.Denied, "connection, by the deny list", "connections, by the deny list")
	tell(r.NotAllowed, "connection, not in the allow list", "connections, not in the allow list")
	tell(r.Handshakes, "connection, too many in a short time", "connections, too many in a short time")
	tell(r.GaveWay, "connection, closed as another needed its place", "connections, closed as others needed their place")
	tell(r.ConnectFirst, "request, before a CONNECT", "requests, before a CONNECT")
	tell(r.Busy, "request, over a budget", "requests, over a budget")
	for _, reason := range slices.Sorted(maps.Keys(r.TurnedAway)) {
		tell(r.TurnedAway[reason], "CONNECT, "+reason, "CONNECTs, "+reason)
	}
	return texts
}

func storeText(s schema.Store) string {
	switch s.Kind {
	case node.StoreDisk:
		return fmt.Sprintf("on disk, %s of %s in %s", terminal.Bytes(s.DiskBytes), terminal.Bytes(s.DiskLimit), terminal.Legible(s.Dir))
	case node.StoreMemory:
		text := "in memory, gone at its end"
		if s.Unread != "" {
			text += "; " + terminal.Legible(s.Unread) + " is left as it is and not read"
		}
		return text
	}
	return s.Kind
}

// memoryText says what the process has, and what it may have is made of.
func memoryText(m schema.Memory) string {
	text := terminal.Bytes(m.Used)
	if m.Limit > 0 {
		text += " of " + terminal.Bytes(m.Limit)
	}
	return fmt.Sprintf("%s (for records %s, for buffers %s, and the rest)", text, terminal.Bytes(m.Records), terminal.Bytes(m.Buffers))
}
