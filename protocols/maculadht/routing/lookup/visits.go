package lookup

import (
	"sync"
	"time"

	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// visits notes when something was last looked up in each bucket's part of the id
// space; the last entry stands for our own id.
type visits struct {
	mu   sync.Mutex
	last [routing.IDBits + 1]time.Time
}

func (v *visits) note(bucket int, now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.last[bucket] = now
}

func (v *visits) at(bucket int) time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.last[bucket]
}
