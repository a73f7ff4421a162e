package watch

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// How often somebody may tell of a change where a lookup finds none, before he is heard
// once in Limits.PollEvery only, as often as the key would be looked up without him: so
// often at once, and as often as he likes within echoFor of a change that was found, of
// which each holder tells.
const (
	vainTells = 8
	echoFor   = 2 * time.Second
)

// credit is that of one who tells. It is safe for concurrent use.
type credit struct {
	vain *rate.Limiter // of what he told in vain

	mu   sync.Mutex
	told bool // since the key was looked up
}

func newCredit(l *Limits) *credit {
	return &credit{vain: rate.NewLimiter(rate.Every(l.PollEvery), vainTells)}
}

// tell notes that he tells of a change. It waits until he is heard: meanwhile nothing more
// of him is read. It reports false where ctx has ended.
func (c *credit) tell(ctx context.Context) bool {
	for {
		left := c.vain.Tokens()
		if left >= 1 {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.told = true
			return true
		}
		again := time.NewTimer(time.Duration((1 - left) / float64(c.vain.Limit()) * float64(time.Second)))
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return false
		}
	}
}

// isWhole reports whether he has told nothing in vain, or long ago.
func (c *credit) isWhole() bool { return c.vain.Tokens() >= vainTells }

// looked notes that the key was looked up, and whether what he had told was in vain.
func (c *credit) looked(vain bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.told && vain {
		c.vain.Allow()
	}
	c.told = false
}
