// Package supervised tells systemd, or whoever else speaks sd_notify, how far a node is:
// ready, alive, stopping. Where nobody listens it does nothing.
package supervised

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Notifier tells the service manager of a process.
type Notifier struct {
	log    *slog.Logger
	every  time.Duration // how often it wants a sign of life; 0 for never
	cancel context.CancelFunc
	ended  sync.WaitGroup
}

// New returns what tells the service manager by the variables NOTIFY_SOCKET and WATCHDOG_USEC,
// as sd_notify(3) and sd_watchdog_enabled(3) do. Close it.
func New(log *slog.Logger) *Notifier {
	n := &Notifier{log: log, cancel: func() {}}
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("the service manager's watchdog is not served", "err", err)
	}
	n.every = every
	return n
}

// Ready tells that the node serves, and how. From now on signs of life are given, twice in
// the time after which the service manager gives the node up, as long as alive returns nil
// within half of that time. One call of alive is under way at a time.
func (n *Notifier) Ready(status string, alive func() error) {
	n.tell(daemon.SdNotifyReady + "\nSTATUS=" + status)
	if n.every == 0 {
		return
	}
	var ctx context.Context
	ctx, n.cancel = context.WithCancel(context.Background())
	n.ended.Go(func() { n.keepAlive(ctx, alive) })
}

// Stopping tells that the node stops.
func (n *Notifier) Stopping() { n.tell(daemon.SdNotifyStopping + "\nSTATUS=stopping") }

// Close ends the signs of life. A call of alive that hangs is left behind.
func (n *Notifier) Close() {
	n.cancel()
	n.ended.Wait()
}

func (n *Notifier) keepAlive(ctx context.Context, alive func() error) {
	half := n.every / 2
	tick := time.NewTicker(half)
	defer tick.Stop()
	var answer chan error // of the call that is under way
	var asked time.Time
	for {
		if answer == nil {
			answer, asked = make(chan error, 1), time.Now()
			go func(answer chan<- error) { answer <- alive() }(answer)
		}
		select {
		case err := <-answer:
			answer = nil
			if err == nil {
				n.tell(daemon.SdNotifyWatchdog)
			} else {
				n.log.Error("the node shows no sign of life", "err", err)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		case <-tick.C:
			n.log.Error("the node shows no sign of life: it does not say how it is", "for", time.Since(asked).Round(time.Millisecond))
		case <-ctx.Done():
			return
		}
	}
}

func (n *Notifier) tell(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		n.log.Warn("the service manager can not be told", "what", state, "err", err)
	}
}
