// Package logs has the loggers of our packages: go-log's, one for each subsystem,
// so that their levels are set where those of libp2p are, by GOLOG_LOG_LEVEL or by
// the program.
package logs

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"slices"
	"sync"
	"time"

	logging "github.com/ipfs/go-log/v2"
)

// Prefix begins the names of our subsystems.
const Prefix = "macula/"

// Subsystems returns the names of our subsystems, without Prefix.
func Subsystems() []string {
	return []string{"dht", "dialer", "gateway", "node", "pubsub", "rpc", "store", "uplink"}
}

// Standard is the subsystem of what libraries say through the standard library's
// log and slog, such as quic-go.
const Standard = "log"

// Known returns the names of all subsystems that a level may be given for, sorted:
// ours, libp2p's, Standard, and those of go-log.
func Known() []string {
	known := append(logging.GetSubsystems(), Standard)
	for _, own := range Subsystems() {
		known = append(known, Prefix+own)
	}
	known = append(known, libp2p...)
	slices.Sort(known)
	return slices.Compact(known)
}

// libp2p are the subsystems of go-libp2p, whose loggers nobody lists.
var libp2p = []string{
	"autonat", "autonatv2", "autorelay", "basichost", "blankhost", "connmgr", "eventbus", "internal/nat", "nat",
	"net/identify", "observedaddrs", "p2p-circuit", "p2p-config", "p2p-holepunch", "peerstore", "ping", "pstoremanager",
	"quic-transport", "quicreuse", "rcmgr", "relay", "reuseport-transport", "routedhost", "swarm2", "tcp-demultiplex",
	"tcp-tpt", "upgrader", "webrtc-transport", "webrtc-transport-pion", "webrtc-udpmux", "websocket-transport",
	"webtransport",
}

// CaptureStandard has what is said through the standard library's slog, and at warn
// what is through its log, logged as the subsystem Standard.
func CaptureStandard() {
	h := Handler().WithAttrs([]slog.Attr{slog.String("logger", Standard)})
	slog.SetDefault(slog.New(h)) // which takes log over too, at info
	log.SetFlags(0)
	log.SetPrefix("")
	log.SetOutput(slog.NewLogLogger(h, slog.LevelWarn).Writer())
}

// Logger returns the logger of a subsystem, such as "dht" for macula/dht. Where
// nothing else is said, go-log shows errors only.
func Logger(subsystem string) *slog.Logger {
	return slog.New(Handler().WithAttrs([]slog.Attr{slog.String("logger", Prefix+subsystem)}))
}

// Handler returns go-log's handler, and has it show errors and what else has a
// text as that: by itself it shows their fields, and so of most errors nothing.
func Handler() slog.Handler { return texts{logging.SlogHandler()} }

type texts struct{ slog.Handler }

// Handle implements slog.Handler.
func (h texts) Handle(ctx context.Context, r slog.Record) error {
	shown := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		shown.AddAttrs(asText(a))
		return true
	})
	return h.Handler.Handle(ctx, shown)
}

// WithAttrs implements slog.Handler.
func (h texts) WithAttrs(attrs []slog.Attr) slog.Handler {
	shown := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		shown[i] = asText(a)
	}
	return texts{h.Handler.WithAttrs(shown)}
}

// WithGroup implements slog.Handler.
func (h texts) WithGroup(name string) slog.Handler { return texts{h.Handler.WithGroup(name)} }

func asText(a slog.Attr) slog.Attr {
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindAny:
		switch v.Any().(type) {
		case error, fmt.Stringer:
			v = slog.StringValue(fmt.Sprint(v.Any())) // it minds nil pointers
		}
	case slog.KindGroup:
		var group []slog.Attr
		for _, inner := range v.Group() {
			group = append(group, asText(inner))
		}
		v = slog.GroupValue(group...)
	}
	return slog.Attr{Key: a.Key, Value: v}
}

// Summary logs what may come very often: the first at once, those of a while after
// it as one line that says how many they were. Its methods may be called at the
// same time. Close it.
type Summary struct {
	log   *slog.Logger
	every time.Duration

	mu     sync.Mutex
	closed bool
	open   map[string]*window // by message
}

// window is the time in which a message is counted and not logged.
type window struct {
	end   *time.Timer
	times int
	last  []any
}

// NewSummary returns a Summary that logs each message once in every so long.
func NewSummary(log *slog.Logger, every time.Duration) *Summary {
	return &Summary{log: log, every: every, open: make(map[string]*window)}
}

// Info logs a message, a constant, or counts it.
func (s *Summary) Info(msg string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.open[msg]; w != nil {
		w.times++
		w.last = args
		return
	}
	s.log.Info(msg, args...)
	if !s.closed {
		w := &window{}
		s.open[msg] = w
		w.end = time.AfterFunc(s.every, func() { s.tell(msg) })
	}
}

// tell ends a window. Where something was counted the next one begins.
func (s *Summary) tell(msg string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.open[msg]
	if w == nil {
		return
	}
	if w.times == 0 || s.closed {
		delete(s.open, msg)
	}
	if w.times > 0 {
		s.log.Info(msg, append([]any{"times", w.times, "within", s.every}, w.last...)...)
		w.times, w.last = 0, nil
		if !s.closed {
			w.end.Reset(s.every)
		}
	}
}

// Close logs what was counted. What comes later is logged as it comes.
func (s *Summary) Close() {
	s.mu.Lock()
	s.closed = true
	var counted []string
	for msg, w := range s.open {
		w.end.Stop()
		counted = append(counted, msg)
	}
	s.mu.Unlock()
	for _, msg := range counted {
		s.tell(msg)
	}
}
