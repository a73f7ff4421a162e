package access

import (
	"errors"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"

	"github.com/libp2p/go-libp2p/core/peer"
)

// Verdict is what the lists say of somebody.
type Verdict string

// The verdicts.
const (
	LetIn      Verdict = ""            // may come
	Denied     Verdict = "denied"      // an entry of the deny list says so
	NotAllowed Verdict = "not_allowed" // the allow list has entries, and none is his
)

// Lists are an allow list and a deny list that are in force, and can be read again.
// Nobody comes whom an entry of the deny list matches, by peer id or by address. Of
// others an allow list with entries lets in those alone whom one of them matches, by
// either. Lists are safe for concurrent use; nil ones let everybody in.
type Lists struct {
	allowFile, denyFile string

	banned    []string // by Ban, where it could not be kept; under reloading
	reloading sync.Mutex
	now       atomic.Pointer[pair]

	denied, notAllowed atomic.Uint64
}

// pair is both lists at one time.
type pair struct{ allow, deny *List }

// Open reads the lists from files; an empty name stands for a list without entries.
func Open(allowFile, denyFile string) (*Lists, error) {
	l := &Lists{allowFile: allowFile, denyFile: denyFile}
	if err := l.Reload(); err != nil {
		return nil, err
	}
	return l, nil
}

// Reload reads the files again. Where one of them can not be read, or has a line that
// is no entry, both lists stay as they were.
func (l *Lists) Reload() error {
	l.reloading.Lock()
	defer l.reloading.Unlock()
	return l.reload()
}

func (l *Lists) reload() error {
	allow, errAllow := readFile(AllowList, l.allowFile)
	deny, errDeny := readFile(DenyList, l.denyFile)
	if err := errors.Join(errAllow, errDeny); err != nil {
		return err
	}
	for _, entry := range l.banned {
		deny.add(entry)
	}
	l.now.Store(&pair{allow, deny})
	return nil
}

func readFile(which, name string) (*List, error) {
	if name == "" {
		return newList(), nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, &FileError{which, err}
	}
	defer f.Close()
	l, err := Read(f, name)
	if err != nil {
		return nil, &FileError{which, err}
	}
	return l, nil
}

// The lists.
const (
	AllowList = "allow"
	DenyList  = "deny"
)

// FileError is what is wrong with the file of a list.
type FileError struct {
	List string // AllowList or DenyList
	Err  error
}

func (e *FileError) Error() string { return e.List + " list: " + e.Err.Error() }
func (e *FileError) Unwrap() error { return e.Err }

// FileErrors parts an error of [Open] by the lists that have it.
func FileErrors(err error) map[string]error {
	by := make(map[string]error)
	if several, is := err.(interface{ Unwrap() []error }); is {
		for _, err := range several.Unwrap() {
			if of, is := errors.AsType[*FileError](err); is {
				by[of.List] = err
			}
		}
	}
	return by
}

// Sizes returns how many entries the lists have.
func (l *Lists) Sizes() (allow, deny int) {
	now := l.now.Load()
	return now.allow.Len(), now.deny.Len()
}

// Check says whether a peer may be connected to that is at an address. The peer id is
// empty for who proves none, the address invalid for who is behind a relay.
func (l *Lists) Check(p peer.ID, ip netip.Addr) Verdict {
	if l == nil {
		return LetIn
	}
	return l.now.Load().check(p, ip)
}

func (now *pair) check(p peer.ID, ip netip.Addr) Verdict {
	switch {
	case now.deny.Has(p, ip):
		return Denied
	case now.allow.Len() > 0 && !now.allow.Has(p, ip):
		return NotAllowed
	}
	return LetIn
}

// CheckAddress says what can be said of somebody at an address before he has proved
// who he is. Whether he is let in is for Check to say, then.
func (l *Lists) CheckAddress(ip netip.Addr) Verdict {
	if l == nil {
		return LetIn
	}
	now := l.now.Load()
	v := now.check("", ip)
	if v == NotAllowed && len(now.allow.peers) > 0 {
		return LetIn
	}
	return v
}

// CheckPeer is CheckAddress for a peer whose address is not known yet.
func (l *Lists) CheckPeer(p peer.ID) Verdict {
	if l == nil {
		return LetIn
	}
	now := l.now.Load()
	v := now.check(p, netip.Addr{})
	if v == NotAllowed && len(now.allow.ranges) > 0 {
		return LetIn
	}
	return v
}

// Refuse counts somebody who was kept away, and reports whether that is so.
func (l *Lists) Refuse(v Verdict) bool {
	switch v {
	case Denied:
		l.denied.Add(1)
	case NotAllowed:
		l.notAllowed.Add(1)
	}
	return v != LetIn
}

// Stats counts the connections that were refused, or closed as the lists changed.
type Stats struct {
	Denied     uint64 // by an entry of the deny list
	NotAllowed uint64 // by there being none of theirs in the allow list
}

// Stats returns the counters; they begin with Open.
func (l *Lists) Stats() Stats {
	if l == nil {
		return Stats{}
	}
	return Stats{Denied: l.denied.Load(), NotAllowed: l.notAllowed.Load()}
}
