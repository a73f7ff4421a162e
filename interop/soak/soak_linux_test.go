package soak

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/interop/program"
	"github.com/macula-mesh/macula-node/node"
)

var (
	soakFor  = flag.Duration("soak", 0, "for how long TestSoak runs; 0 for a few seconds, in which nothing can be seen to leak")
	soakSeed = flag.Uint64("soak.seed", 1, "what decides what the clients do")
	soakOut  = flag.String("soak.out", "", "the directory in which soak.svg and soak.csv are written, from interop/soak where it is relative; none where it is empty")
)

const (
	nodes     = 5
	shortSoak = 2 * time.Second
	samples   = 180 // in all, of a long one
	// leastSoak is how long it must run for what it holds to be judged.
	leastSoak = 10 * time.Minute
)

// TestSoak has clients of all kinds use nodes, five processes and five within the test, and
// requires that what the nodes hold does not grow.
//
//	go test ./interop/soak -run 'TestSoak$' -soak 30m -soak.out "$PWD/docs" -timeout 1h -v
func TestSoak(t *testing.T) {
	length, every := *soakFor, *soakFor/samples
	if length == 0 {
		length, every = shortSoak, shortSoak/6
	}
	t.Logf("%v, seed %d", length, *soakSeed)
	if *soakOut != "" {
		require.NoError(t, os.MkdirAll(*soakOut, 0o755)) // at the end it would be too late to say that it can not be
	}
	processes, ours := startProcesses(t), startNodes(t)
	var targets []*target
	for _, p := range processes {
		targets = append(targets, newTarget(t, p.Endpoints[0], p.Addrs[0]))
	}
	for _, n := range ours {
		targets = append(targets, newTarget(t, n.Endpoints()[0], n.Addrs()[0].String()))
	}
	w := newWatch(processes)
	l := startLoad(t, targets, *soakSeed, *soakFor == 0)
	begun := time.Now()
	pace := time.NewTicker(every)
	defer pace.Stop()
	for time.Since(begun) < length {
		<-pace.C
		l.rest(func() { w.look(t, time.Since(begun)) })
	}
	l.end()
	for _, line := range summary(w.at, w.all()) {
		t.Log(line)
	}
	if *soakOut != "" {
		w.write(t, *soakOut, fmt.Sprintf("%d nodes under a mixed load for %v; the grey time does not count", nodes, length))
	}
	l.report()
	if length >= leastSoak {
		require.Empty(t, leaks(w.at, w.all()))
	}
}

// startProcesses starts processes of the built program, which know each other.
func startProcesses(t *testing.T) []*program.Process {
	t.Helper()
	path, err := program.Build(t.TempDir())
	require.NoError(t, err)
	return startAll(t, (*program.Process).Stop, func(first *program.Process) (*program.Process, error) {
		args := []string{"--listen", "/ip4/127.0.0.1/udp/0/quic-v1", "--data-dir", t.TempDir(), "--realm", realm, "--mode", "server", "--log-level", "error"}
		if first != nil {
			args = append(args, "--bootstrap", first.Addrs[0])
		}
		return program.Run(path, nil, args...)
	})
}

// startNodes starts nodes within the test, which know each other and none of the processes.
func startNodes(t *testing.T) []*node.Node {
	t.Helper()
	return startAll(t, (*node.Node).Close, func(first *node.Node) (*node.Node, error) {
		c := node.Config{DataDir: t.TempDir(), Durable: true, Listen: []string{"/ip4/127.0.0.1/udp/0/quic-v1"}, Realm: realm, Mode: node.ModeServer,
			NoPortMapping: true, Registerer: prometheus.NewRegistry()}
		if first != nil {
			c.Bootstrap = []string{first.Addrs()[0].String()}
		}
		return node.New(c)
	})
}

// startAll starts one, and then the others at once, which are told of it; all end with the
// test.
func startAll[T any](t *testing.T, end func(*T) error, start func(first *T) (*T, error)) []*T {
	t.Helper()
	all := make([]*T, nodes)
	t.Cleanup(func() {
		atOnce(all, func(i int) error {
			if all[i] == nil {
				return nil
			}
			return end(all[i])
		}, t.Error)
	})
	begin := func(i int, first *T) (err error) {
		all[i], err = start(first)
		return err
	}
	require.NoError(t, begin(0, nil))
	atOnce(all[1:], func(i int) error { return begin(1+i, all[0]) }, t.Error)
	if t.Failed() {
		t.FailNow()
	}
	return all
}

// atOnce does something with all of them, and tells of each that fails.
func atOnce[T any](all []*T, do func(i int) error, failed func(...any)) {
	var doing sync.WaitGroup
	for i := range all {
		doing.Go(func() {
			if err := do(i); err != nil {
				failed(err)
			}
		})
	}
	doing.Wait()
}

// watch is what is seen of the nodes.
type watch struct {
	processes []*program.Process
	at        []time.Duration

	resident, descriptors, threads *series
	goroutines, live               *series
}

func newWatch(processes []*program.Process) *watch {
	var names []string
	for i := range processes {
		names = append(names, fmt.Sprintf("process %d", i+1))
	}
	within := []string{"5 within the test"}
	return &watch{
		processes:   processes,
		resident:    &series{name: "resident memory", unit: "MiB", leak: 24, of: names},
		descriptors: &series{name: "descriptors", unit: "open", leak: 12, of: names},
		threads:     &series{name: "threads", unit: "threads", leak: 12, of: names},
		goroutines:  &series{name: "goroutines", unit: "goroutines", leak: 240, of: within}, // 720 clients of the rarest kind come in an hour
		live:        &series{name: "live heap", unit: "MiB", leak: 24, of: within},
	}
}

func (w *watch) all() []*series {
	return []*series{w.resident, w.descriptors, w.threads, w.goroutines, w.live}
}

// look notes what is held now.
func (w *watch) look(t *testing.T, at time.Duration) {
	t.Helper()
	var resident, descriptors, threads []float64
	for _, p := range w.processes {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID))
		require.NoError(t, err)
		var kib, n float64
		for line := range strings.Lines(string(text)) {
			_, _ = fmt.Sscanf(line, "VmRSS: %g kB", &kib)
			_, _ = fmt.Sscanf(line, "Threads: %g", &n)
		}
		open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.PID))
		require.NoError(t, err)
		require.Positive(t, kib*n)
		resident, descriptors, threads = append(resident, kib/1024), append(descriptors, float64(len(open))), append(threads, n)
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	w.at = append(w.at, at)
	w.resident.add(resident...)
	w.descriptors.add(descriptors...)
	w.threads.add(threads...)
	w.goroutines.add(float64(runtime.NumGoroutine()))
	w.live.add(float64(live[0].Value.Uint64()) / (1 << 20))
}

// write writes soak.svg and soak.csv into a directory.
func (w *watch) write(t *testing.T, dir, title string) {
	t.Helper()
	for name, write := range map[string]func(f *os.File) error{
		"soak.svg": func(f *os.File) error { return writePlot(f, title, w.at, w.all()) },
		"soak.csv": func(f *os.File) error { return writeCSV(f, w.at, w.all()) },
	} {
		f, err := os.Create(filepath.Join(dir, name))
		require.NoError(t, err)
		require.NoError(t, errors.Join(write(f), f.Close()))
		t.Log("written:", f.Name())
	}
}
