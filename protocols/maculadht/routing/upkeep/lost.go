package upkeep

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// lostAtOnce is how many of those that were lost are asked at a time.
const lostAtOnce = 3

// watchLost asks a few of the libp2p contacts that were lost for a sign of life, again
// and again. If one gives it, all of them are asked: a part of the network that could
// not be reached can be, and is not to wait until the table is looked over. Who gives
// none is not blamed: that is for those who look it over.
func (u *Upkeep) watchLost() {
	ticker := time.NewTicker(u.cfg.retry)
	defer ticker.Stop()
	for {
		select {
		case <-u.ctx.Done():
			return
		case <-ticker.C:
		}
		lost := u.lost()
		rand.Shuffle(len(lost), func(i, j int) { lost[i], lost[j] = lost[j], lost[i] })
		if heard, _ := u.pingAll(lost[:min(len(lost), lostAtOnce)]); heard {
			u.pingAll(u.lost())
		}
	}
}

// lost returns the libp2p contacts that were lost and have been silent for long enough:
// one that lives and is lost again and again is not asked more often than as the table
// is looked over.
func (u *Upkeep) lost() []routing.Contact {
	return slices.DeleteFunc(u.server.Table().All(), func(c routing.Contact) bool {
		return !c.Lost() || c.IsErlang() || time.Since(c.LastSeen) < u.cfg.check
	})
}
