package access

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// ErrNotListed: the deny list has no such entry.
var ErrNotListed = errors.New("the deny list has no such entry")

// DenyFile is where the deny list is kept; empty where it lasts as long as the process.
func (l *Lists) DenyFile() string { return l.denyFile }

// Denied returns the entries of the deny list that are in force.
func (l *Lists) Denied() []string {
	if l == nil {
		return []string{}
	}
	return l.now.Load().deny.Entries()
}

// Banned is what came of Ban or Unban.
type Banned struct {
	Entry   string // in the one way to write it
	Changed bool   // it was not so before
	// Unkept is why it holds as long as the process only; nil where the file has it.
	Unkept error
}

// ErrNoFile: there is no file of the deny list.
var ErrNoFile = errors.New("the node has no file of a deny list")

// Ban puts an entry on the deny list and, where there is one, into its file; it is in force
// also where that can not be written. The error is an *EntryError, or that of a file which is
// not as it should be, and then nothing has changed.
func (l *Lists) Ban(text string) (b Banned, err error) {
	if b.Entry, err = ParseEntry(text); err != nil {
		return b, err
	}
	l.reloading.Lock()
	defer l.reloading.Unlock()
	if err := l.reload(); err != nil { // the file may have been written since
		return b, err
	}
	b.Changed = !slices.Contains(l.Denied(), b.Entry)
	switch {
	case l.denyFile == "":
		b.Unkept = ErrNoFile
	case b.Changed || slices.Contains(l.banned, b.Entry):
		b.Unkept = l.rewrite(func(lines []string) []string { return append(lines, b.Entry) })
	}
	l.banned = slices.DeleteFunc(l.banned, func(e string) bool { return e == b.Entry })
	if b.Unkept != nil {
		l.banned = append(l.banned, b.Entry)
	}
	return b, l.reload()
}

// Unban takes an entry off the deny list and out of its file; others that match the same
// peer or address stay. The error is an ErrNotListed, or that of the file, and then nothing
// has changed.
func (l *Lists) Unban(text string) (b Banned, err error) {
	if b.Entry, err = ParseEntry(text); err != nil {
		return b, err
	}
	l.reloading.Lock()
	defer l.reloading.Unlock()
	if err := l.reload(); err != nil {
		return b, err
	}
	if !slices.Contains(l.Denied(), b.Entry) {
		return b, fmt.Errorf("%w: %s", ErrNotListed, b.Entry)
	}
	if l.denyFile != "" {
		if err := l.rewrite(func(lines []string) []string {
			return slices.DeleteFunc(lines, func(line string) bool {
				text, _, _ := strings.Cut(line, "#")
				entry, err := ParseEntry(text)
				return err == nil && entry == b.Entry
			})
		}); err != nil {
			return b, err
		}
	}
	l.banned = slices.DeleteFunc(l.banned, func(e string) bool { return e == b.Entry })
	b.Changed = true
	return b, l.reload()
}

// rewrite changes the lines of the deny list's file, all at once or not at all.
func (l *Lists) rewrite(change func(lines []string) []string) error {
	path, err := filepath.EvalSymlinks(l.denyFile)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	before, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var lines []string
	for line := range bytes.Lines(before) {
		lines = append(lines, strings.TrimRight(string(line), "\r\n"))
	}
	after := ""
	for _, line := range change(slices.Clone(lines)) {
		after += line + "\n"
	}
	if after == string(before) {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".")
	if err != nil {
		return err
	}
	_, err = f.WriteString(after)
	err = errors.Join(err, f.Chmod(info.Mode().Perm()), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
