package conns

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"golang.org/x/time/rate"

	"github.com/macula-mesh/macula-node/internal/buckets"
)

// Why a handshake does not begin. Both are a network.ErrResourceLimitExceeded.
var (
	// ErrHandshakes means that too many of the address, of its group, or of all are under
	// way.
	ErrHandshakes = fmt.Errorf("too many handshakes under way: %w", network.ErrResourceLimitExceeded)
	// ErrTooOften means that the address or its group has made too many connections lately.
	ErrTooOften = fmt.Errorf("too many connections in a short time: %w", network.ErrResourceLimitExceeded)
)

// handshakes are those under way.
type handshakes struct {
	limits   Limits
	unproved *rate.Limiter
	quiet    *buckets.Buckets // by group: who asks seldom
	sources  *buckets.Buckets
	groups   *buckets.Buckets

	mu    sync.Mutex
	all   int
	of    map[netip.Prefix]int // by group, and by source where that is not its group; those of proved addresses
	stats HandshakeStats
}

// HandshakeStats counts what became of handshakes.
type HandshakeStats struct {
	UnderWay int    // now
	Begun    uint64 // since the start
	Retried  uint64 // had to prove their address first
	Refused  uint64 // were too many
}

func newHandshakes(l Limits) *handshakes {
	return &handshakes{
		limits:   l,
		unproved: rate.NewLimiter(rate.Limit(l.Unproved), max(l.Unproved, l.Handshakes/4)),
		quiet:    buckets.New(groupBuckets, quietAtOnce, quietEach),
		sources:  buckets.New(sourceBuckets, burst*l.PerSecond, each(l.PerSecond)),
		groups:   buckets.New(groupBuckets, groupShare*burst*l.PerSecond, each(groupShare*l.PerSecond)),
		of:       make(map[netip.Prefix]int),
	}
}

// prove reports whether whoever wants to begin a handshake has to prove its address first:
// a group that wants it often, so that it does not use up what there is for others, and
// everybody where there are many.
func (h *handshakes) prove(ip netip.Addr) bool {
	_, group := h.limits.networks(ip)
	isQuiet := h.quiet.Take(group, time.Now())
	h.mu.Lock()
	defer h.mu.Unlock()
	if isQuiet && h.all < h.limits.Handshakes/4 && h.unproved.Allow() {
		return false
	}
	h.stats.Retried++
	return true
}

// begin counts a handshake that begins, and returns what ends it.
func (h *handshakes) begin(ip netip.Addr, proved bool) (end func(), err error) {
	source, group := h.limits.networks(ip)
	h.mu.Lock()
	defer h.mu.Unlock()
	defer func() {
		if err != nil {
			h.stats.Refused++
		} else {
			h.stats.Begun++
		}
	}()
	left := h.limits.Handshakes - h.all
	if left < 1 {
		return nil, ErrHandshakes
	}
	var counted []netip.Prefix
	if proved { // else anybody's, so that it says nothing of whose it is said to be
		left -= h.limits.Handshakes / 4 // which is for groups that have none
		if of := h.of[group]; of > 0 && (of >= (left+1)/2 || source != group && h.of[source] >= (left+3)/4) {
			return nil, ErrHandshakes
		}
		if h.limits.limited(ip) {
			now := time.Now()
			if !h.sources.Take(source, now) {
				return nil, ErrTooOften
			}
			if !h.groups.Take(group, now) {
				h.sources.Give(source)
				return nil, ErrTooOften
			}
		}
		counted = append(counted, group)
		if source != group {
			counted = append(counted, source)
		}
	}
	h.all++
	for _, of := range counted {
		h.of[of]++
	}
	return sync.OnceFunc(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.all--
		for _, of := range counted {
			if h.of[of]--; h.of[of] == 0 {
				delete(h.of, of)
			}
		}
	}), nil
}

func (h *handshakes) snapshot() HandshakeStats {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.stats
	s.UnderWay = h.all
	return s
}
