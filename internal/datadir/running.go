package datadir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Running is what a node says to the commands on its machine.
type Running struct {
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	PeerID  string    `json:"peer_id"`
	Realm   string    `json:"realm"`
	// Addrs are multiaddrs with /p2p at which this machine reaches the node; none
	// while it starts.
	Addrs []string `json:"addrs"`
	// Endpoint is where this machine reaches it as an Erlang node does,
	// https://host:port with the pin of its key behind.
	Endpoint string `json:"endpoint"`
	// Socket is the path of the Unix socket of its local API; empty where it has none.
	Socket string `json:"socket,omitempty"`
	// Bootstrap are the multiaddrs of the peers that it was told to join by.
	Bootstrap []string `json:"bootstrap,omitempty"`
}

// String says who it is.
func (r *Running) String() string {
	return fmt.Sprintf("the macula-node with the pid %d, running since %s", r.PID, r.Started.Local().Format(time.DateTime))
}

// answerTime is how long a node's local API is given to take a connection.
const answerTime = time.Second

// answers reports whether somebody listens on the socket of a node's local API: it runs,
// be it that its lock was removed. It is false for nil.
func (r *Running) answers() bool {
	if r == nil || r.Socket == "" {
		return false
	}
	conn, err := net.DialTimeout("unix", r.Socket, answerTime)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// ErrNotRunning means that no node runs on a data directory.
var ErrNotRunning = errors.New("no macula-node runs there")

// RunningIn returns what the node says that runs on a data directory. The error is
// ErrNotRunning, and fs.ErrNotExist too, where there is none, and ErrNotRunning
// where the one that said something is gone, as after a crash. That it lives is certain only once it has answered.
func RunningIn(path string) (*Running, error) {
	r, err := readRunning(path)
	used := isUsed(path) || r.answers()
	switch {
	case errors.Is(err, fs.ErrNotExist) && used, err == nil && used && len(r.Addrs) == 0:
		return nil, fmt.Errorf("%w yet, or any more: %s is in use by a node that starts or stops", ErrNotRunning, path)
	case errors.Is(err, fs.ErrNotExist):
		return nil, notHereError(path)
	case err != nil:
		return nil, fmt.Errorf("read where the node of %s is: %w", path, err)
	case !used:
		return nil, fmt.Errorf("%w any more: %s, on %s, was ended without a stop", ErrNotRunning, r, path)
	}
	return r, nil
}

// notHereError: no node has said that it runs on a data directory.
type notHereError string

func (e notHereError) Error() string   { return ErrNotRunning.Error() + ": " + string(e) }
func (e notHereError) Unwrap() []error { return []error{ErrNotRunning, fs.ErrNotExist} }

// maxRunning is how many bytes of the file are read.
const maxRunning = 64 << 10

func readRunning(path string) (*Running, error) {
	name := filepath.Join(path, runningFile)
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file but %s: remove it", name, info.Mode()) // opening a pipe would wait for ever
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxRunning))
	if err != nil {
		return nil, err
	}
	var r Running
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("%s: %w", file.Name(), err)
	}
	return &r, nil
}

func writeRunning(path string, r Running) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return ReplacePrivate(filepath.Join(path, runningFile), append(data, '\n'))
}
