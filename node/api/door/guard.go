package door

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Refusal is why a request is not served, with the status of HTTP that says so.
type Refusal struct {
	Status int
	Why    string
}

func (r *Refusal) Error() string { return r.Why }

// Guard says who is served over TCP.
type Guard struct {
	address  Address
	token    Token
	writes   http.CrossOriginProtection
	sessions sessions
}

// NewGuard returns the guard of an address. Where that is no loopback address nobody is
// served without the token; at loopback nothing is changed or begun without it, as whoever
// else is on the machine reaches that too.
func NewGuard(a Address, t Token) *Guard { return &Guard{address: a, token: t} }

// Check returns nil where a request may be served, else a *Refusal.
func (g *Guard) Check(r *http.Request) error {
	if err := g.CheckOrigin(r); err != nil {
		return err
	}
	switch known, err := g.knows(r); {
	case known:
		return nil
	case err != nil:
		return &Refusal{http.StatusUnauthorized, err.Error()}
	case !g.address.Loopback():
		return &Refusal{http.StatusUnauthorized, "this address wants the token of the node's data directory (" + TokenFile + "): send Authorization: Bearer TOKEN"}
	case !reads(r):
		return &Refusal{http.StatusUnauthorized, fmt.Sprintf("%s wants the token of the node's data directory (%s): send Authorization: Bearer TOKEN, or ask on the socket there", r.Method, TokenFile)}
	}
	return nil
}

// CheckOrigin is Check without the token: it says whether the request is of who means this
// node, and not of a page of somebody else's.
func (g *Guard) CheckOrigin(r *http.Request) error {
	if !g.means(r) {
		return &Refusal{http.StatusMisdirectedRequest, fmt.Sprintf("Host %q is not where this node is: ask for %s, or localhost", r.Host, g.address)}
	}
	if err := g.writes.Check(r); err != nil {
		return &Refusal{http.StatusForbidden, "a page of another origin has asked: " + err.Error()}
	}
	return checkRead(r)
}

func reads(r *http.Request) bool {
	return slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodOptions}, r.Method)
}

// means reports whether a request names this node: by loopback, by the address that is
// listened on, or, where all are, by the one at which it came. Another name may be one that a
// page's owner has lead here.
func (g *Guard) means(r *http.Request) bool {
	host := hostOf(r.Host)
	if host == "" {
		return false
	}
	if isLoopback(host) || host == g.address.Host {
		return true
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	at, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	local, err := netip.ParseAddrPort(at.String())
	return err == nil && local.Addr().Unmap().WithZone("") == ip.Unmap().WithZone("")
}

// hostOf returns the host of a Host header, without its port.
func hostOf(header string) string {
	host, _, err := net.SplitHostPort(header)
	if err != nil {
		host = strings.TrimSuffix(strings.TrimPrefix(header, "["), "]")
	}
	return strings.ToLower(host)
}

// checkRead refuses what the pages of other origins read: their browser says so, or names
// the origin.
func checkRead(r *http.Request) error {
	switch site := r.Header.Get("Sec-Fetch-Site"); site {
	case "same-origin", "none":
		return nil
	case "":
	default:
		return &Refusal{http.StatusForbidden, fmt.Sprintf("a page of another origin has asked (Sec-Fetch-Site: %s)", site)}
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return nil
	}
	if u, err := url.Parse(origin); err != nil || !strings.EqualFold(u.Host, r.Host) {
		return &Refusal{http.StatusForbidden, fmt.Sprintf("a page of another origin has asked (Origin: %q)", origin)}
	}
	return nil
}

var errToken = errors.New("that is not the token of the node's data directory (" + TokenFile + ")")

// knows reports whether a request shows the token, or that it was shown; the error says that
// what it shows is wrong.
func (g *Guard) knows(r *http.Request) (bool, error) {
	if sent := r.Header.Get("Authorization"); sent != "" {
		scheme, token, _ := strings.Cut(sent, " ")
		if strings.EqualFold(scheme, "Bearer") && g.token.Is(strings.TrimSpace(token)) {
			return true, nil
		}
		return false, errToken
	}
	return g.sessions.has(g.shown(r), time.Now()), nil
}

// Knows reports whether a request shows the token, or is of a browser that has.
func (g *Guard) Knows(r *http.Request) bool {
	known, err := g.knows(r)
	return known && err == nil
}

// LogIn has a browser that shows the token in a form, as "token", be known by a cookie from
// then on, for 12 h. The error is a *Refusal.
func (g *Guard) LogIn(w http.ResponseWriter, r *http.Request) error {
	if !g.token.Is(strings.TrimSpace(r.PostFormValue("token"))) {
		return &Refusal{http.StatusUnauthorized, errToken.Error()}
	}
	http.SetCookie(w, g.cookie(g.sessions.begin(time.Now()), int(sessionTime/time.Second)))
	return nil
}

// LogOut has a browser not be known by its cookie any more, and forget that.
func (g *Guard) LogOut(w http.ResponseWriter, r *http.Request) {
	g.sessions.end(g.shown(r))
	http.SetCookie(w, g.cookie("", -1))
}

type guardKey struct{}

// With has [Of] return the guard of a connection.
func With(ctx context.Context, g *Guard) context.Context {
	return context.WithValue(ctx, guardKey{}, g)
}

// Of returns the guard that a request came by; nil for the socket, which guards itself.
func Of(ctx context.Context) *Guard {
	g, _ := ctx.Value(guardKey{}).(*Guard)
	return g
}
