package access

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/libp2p/go-libp2p/core/peer"
)

// List is a set of peer ids and address ranges. The zero value has no entry. It is
// not changed once it is read, so any number of goroutines may ask it.
type List struct {
	peers  map[peer.ID]struct{}
	ranges map[netip.Prefix]struct{}
	// bits4 and bits6 are the lengths of the ranges, so that an address is looked for
	// once a length, however many ranges there are.
	bits4, bits6 []int
}

// EntryError is a line of a list that is no entry.
type EntryError struct {
	File string
	Line int    // the first is 1
	Text string // as it stands there
	Why  string // what is wrong with it
}

// Error names the file, the line and what may stand there.
func (e *EntryError) Error() string {
	return fmt.Sprintf("%s:%d: %q %s: write one entry a line, a peer id such as 12D3KooW…, an address range such as 192.0.2.0/24 or 2001:db8::/32, or an address; # begins a comment", e.File, e.Line, e.Text, e.Why)
}

// maxEntry is how many bytes of a line that is no entry an error repeats.
const maxEntry = 100

// Read reads a list, one entry a line. Empty lines are passed over, and what stands
// behind a #. The name is the file's, for errors; a line that is no entry is an
// *EntryError.
func Read(r io.Reader, name string) (*List, error) {
	l := newList()
	in := bufio.NewScanner(r)
	line := 0
	for in.Scan() {
		line++
		text, _, _ := strings.Cut(in.Text(), "#")
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		if why := l.add(text); why != "" {
			return nil, &EntryError{File: name, Line: line, Text: text[:min(len(text), maxEntry)], Why: why}
		}
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("%s:%d: %w", name, line+1, err)
	}
	return l, nil
}

func newList() *List {
	return &List{peers: make(map[peer.ID]struct{}), ranges: make(map[netip.Prefix]struct{})}
}

// Entries returns the entries as they are written, in order.
func (l *List) Entries() []string {
	all := make([]string, 0, l.Len())
	for p := range l.peers {
		all = append(all, p.String())
	}
	for r := range l.ranges {
		all = append(all, rangeText(r))
	}
	slices.Sort(all)
	return all
}

// rangeText writes a range, of one address that address.
func rangeText(r netip.Prefix) string {
	if r.IsSingleIP() {
		return r.Addr().String()
	}
	return r.String()
}

// ParseEntry returns an entry of a list in the one way to write it. What is none is an
// *EntryError.
func ParseEntry(text string) (string, error) {
	l, text := newList(), strings.TrimSpace(text)
	if why := l.add(text); why != "" {
		return "", &EntryError{File: "entry", Line: 1, Text: text[:min(len(text), maxEntry)], Why: why}
	}
	return l.Entries()[0], nil
}

// add takes an entry, or says what is wrong with it.
func (l *List) add(text string) (why string) {
	if r, why := parseRange(text); r.IsValid() || why != "" {
		if why == "" {
			l.addRange(r)
		}
		return why
	}
	p, err := peer.Decode(text)
	if err != nil {
		return "is neither a peer id nor an address range"
	}
	l.peers[p] = struct{}{}
	return ""
}

// parseRange returns the range that an entry is, none where it is something else, or
// what is wrong with it.
func parseRange(text string) (r netip.Prefix, why string) {
	if ip, err := netip.ParseAddr(text); err == nil {
		if ip.Zone() != "" {
			return r, "has a zone, which no connection is told apart by"
		}
		ip = ip.Unmap()
		return netip.PrefixFrom(ip, ip.BitLen()), ""
	}
	if !strings.Contains(text, "/") {
		return r, ""
	}
	r, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return netip.Prefix{}, "is no address range"
	case r.Addr().Is4In6():
		return netip.Prefix{}, "is an IPv4 range in IPv6 form, which nothing comes from"
	case r != r.Masked():
		return netip.Prefix{}, fmt.Sprintf("has an address behind its first %d bits: the range is %s", r.Bits(), r.Masked())
	}
	return r, ""
}

func (l *List) addRange(r netip.Prefix) {
	l.ranges[r] = struct{}{}
	bits := &l.bits6
	if r.Addr().Is4() {
		bits = &l.bits4
	}
	if !slices.Contains(*bits, r.Bits()) {
		*bits = append(*bits, r.Bits())
	}
}

// Len returns how many entries the list has, each counted once.
func (l *List) Len() int { return len(l.peers) + len(l.ranges) }

// Has reports whether an entry is the peer, or a range that has the address. An
// empty peer id and an invalid address are in no list.
func (l *List) Has(p peer.ID, ip netip.Addr) bool {
	if _, ok := l.peers[p]; ok {
		return true
	}
	if !ip.IsValid() {
		return false
	}
	ip = ip.Unmap().WithZone("")
	bits := l.bits6
	if ip.Is4() {
		bits = l.bits4
	}
	for _, n := range bits {
		if r, err := ip.Prefix(n); err == nil {
			if _, ok := l.ranges[r]; ok {
				return true
			}
		}
	}
	return false
}
