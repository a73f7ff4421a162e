package door

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	socketName = "api.sock"
	// unnamedDir is the directory, of its user alone, in which the socket is made, as unnamed,
	// before it is that one's too; together no longer than its name.
	unnamedDir, unnamed = "api.d", "s"
	// maxPath is what a socket's path may have: 104 bytes with a zero at its end, on
	// the systems where it is least.
	maxPath = 103
	// shortDir begins the name of a directory of one socket alone.
	shortDir = "macula-node-"
)

// ErrInUse: somebody answers on the socket already.
var ErrInUse = errors.New("another node answers there")

// Socket is a Unix socket that is listened on, which its user alone can open; its files
// outlive the listener, until Remove.
type Socket struct {
	net.Listener
	path  string
	alone string // a directory made for it; empty where it is in the data directory
}

// ListenSocket makes the socket of a data directory. A path that is too long for one is
// replaced by a short one in a directory of its own. The error is ErrInUse where another
// process answers there.
func ListenSocket(dataDir string) (*Socket, error) {
	dataDir, err := filepath.Abs(dataDir)
	if err != nil {
		return nil, err
	}
	s := &Socket{path: filepath.Join(dataDir, socketName)}
	if len(s.path) > maxPath {
		if s.alone, err = os.MkdirTemp("", shortDir); err != nil { // mode 0700
			return nil, fmt.Errorf("the socket's path %s has %d bytes, of at most %d, and no shorter one can be had: %w", s.path, len(s.path), maxPath, err)
		}
		long := s.path
		if s.path = filepath.Join(s.alone, socketName); len(s.path) > maxPath {
			return nil, errors.Join(fmt.Errorf("the socket's paths %s and %s have more than %d bytes: name a shorter data directory", long, s.path, maxPath), os.Remove(s.alone))
		}
	}
	if err := s.open(); err != nil {
		return nil, errors.Join(err, s.Remove())
	}
	return s, nil
}

// open listens, in place of who is no more.
func (s *Socket) open() error {
	if err := vacate(s.path); err != nil {
		return err
	}
	apart := filepath.Join(filepath.Dir(s.path), unnamedDir)
	made := filepath.Join(apart, unnamed)
	if err := clearAway(apart, made); err != nil {
		return err
	}
	if err := os.Mkdir(apart, 0o700); err != nil {
		return err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: made, Net: "unix"})
	if err != nil {
		return errors.Join(err, os.Remove(apart))
	}
	l.SetUnlinkOnClose(false) // it is renamed
	err = os.Chmod(made, 0o600)
	if err == nil {
		err = os.Rename(made, s.path)
	}
	if err == nil {
		err = os.Remove(apart)
	}
	if err != nil {
		_ = os.Remove(made) // which is not there once it is renamed
		return errors.Join(err, l.Close(), os.Remove(apart))
	}
	s.Listener = l
	return nil
}

// clearAway removes the directory that a node which was killed has left.
func clearAway(dir, made string) error {
	info, err := os.Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is no directory (%s): move it away", dir, info.Mode())
	}
	return errors.Join(vacate(made), os.Remove(dir))
}

// vacate removes the socket of a node that was killed.
func vacate(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is no socket (%s): move it away", path, info.Mode())
	}
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		return errors.Join(fmt.Errorf("%w: %s", ErrInUse, path), conn.Close())
	}
	return os.Remove(path)
}

// Path returns where the socket is.
func (s *Socket) Path() string { return s.path }

// Remove takes the socket's files away.
func (s *Socket) Remove() error {
	err := os.Remove(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if s.alone != "" {
		err = errors.Join(err, os.Remove(s.alone))
	}
	return err
}

// RemoveLast takes away the socket that a node which was killed has left where the
// data directory's path was too long; path is what it said of it.
func RemoveLast(path string) {
	dir := filepath.Dir(path)
	if filepath.Base(path) != socketName || !strings.HasPrefix(filepath.Base(dir), shortDir) || vacate(path) != nil {
		return
	}
	_ = os.Remove(dir) // which fails where anything else is in it
}
