package door

import (
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"sync"
	"time"
)

const (
	// sessionTime is for how long a browser is logged in.
	sessionTime = 12 * time.Hour
	// maxSessions is how many are: of more the oldest ends.
	maxSessions = 64
	// cookiePrefix begins the name of that by which a browser is known; its end is the port, as
	// a browser shows a cookie to all ports of a host, and each may be another node's.
	cookiePrefix = "macula_node_session_"
)

// sessions are those of the browsers that have logged in, by the hash of what they show: a
// session ends where it is logged out of, and with the node. The zero value has none.
type sessions struct {
	mu   sync.Mutex
	ends map[[sha256.Size]byte]time.Time
}

// begin returns what a browser shows from then on.
func (s *sessions) begin(now time.Time) string {
	shown := rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ends == nil {
		s.ends = make(map[[sha256.Size]byte]time.Time)
	}
	if len(s.ends) >= maxSessions {
		var oldest [sha256.Size]byte
		var first time.Time
		for hash, end := range s.ends {
			if first.IsZero() || end.Before(first) {
				oldest, first = hash, end
			}
		}
		delete(s.ends, oldest)
	}
	s.ends[sha256.Sum256([]byte(shown))] = now.Add(sessionTime)
	return shown
}

// has reports whether a browser shows what begin returned, and its time is not over.
func (s *sessions) has(shown string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return now.Before(s.ends[sha256.Sum256([]byte(shown))])
}

func (s *sessions) end(shown string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.ends, sha256.Sum256([]byte(shown)))
}

// shown returns what a browser shows; empty where it shows nothing.
func (g *Guard) shown(r *http.Request) string {
	cookie, err := r.Cookie(g.cookieName())
	if err != nil {
		return ""
	}
	return cookie.Value
}

func (g *Guard) cookieName() string { return cookiePrefix + g.address.Port }

func (g *Guard) cookie(value string, age int) *http.Cookie {
	return &http.Cookie{Name: g.cookieName(), Value: value, Path: "/", MaxAge: age, HttpOnly: true, SameSite: http.SameSiteStrictMode}
}

// LoggedIn reports whether a request is of a browser that has logged in.
func LoggedIn(r *http.Request) bool {
	g := Of(r.Context())
	return g != nil && g.sessions.has(g.shown(r), time.Now())
}
