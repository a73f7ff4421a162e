package api

import (
	"context"
	"net/http"

	"github.com/macula-mesh/macula-node/node/api/door"
)

// places are those of the readers of one listener that stay.
type places struct {
	all     chan struct{} // has a token for each reader
	unknown chan struct{} // and for each that is not known
}

func newPlaces() *places {
	return &places{make(chan struct{}, maxStreams), make(chan struct{}, maxUnknown)}
}

type (
	placesKey struct{}
	knownKey  struct{}
)

// withKnown has a request be known as one of the node's owner: of who has come by the socket,
// or has shown the token.
func withKnown(r *http.Request) *http.Request {
	guard := door.Of(r.Context())
	return r.WithContext(context.WithValue(r.Context(), knownKey{}, guard == nil || guard.Knows(r)))
}

// stay takes a place for a reader that stays.
func stay(ctx context.Context) (leave func(), err error) {
	p, _ := ctx.Value(placesKey{}).(*places)
	known, _ := ctx.Value(knownKey{}).(bool)
	if !known && !take(p.unknown) {
		return nil, problem(http.StatusTooManyRequests, "%d readers that have not shown the token stay here already: end one of them, or send it (Authorization: Bearer TOKEN)", cap(p.unknown))
	}
	if !take(p.all) {
		if !known {
			<-p.unknown
		}
		return nil, problem(http.StatusTooManyRequests, "%d readers stay here already: end one of them", cap(p.all))
	}
	return func() {
		<-p.all
		if !known {
			<-p.unknown
		}
	}, nil
}

func take(places chan struct{}) bool {
	select {
	case places <- struct{}{}:
		return true
	default:
		return false
	}
}
