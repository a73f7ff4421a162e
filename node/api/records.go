package api

import (
	"context"
	"encoding/hex"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/node/api/schema"
)

// putTime is how long it may take to find the nodes nearest to a key, and have them store.
const putTime = time.Minute

// page asks for keys.
type page struct {
	Prefix string `query:"prefix" doc:"with which the keys begin, in hexadecimal" maxLength:"510"`
	Cursor string `query:"cursor" doc:"next of the page before"`
	Limit  int    `query:"limit" doc:"how many keys at most" minimum:"1" maximum:"1000" default:"100"`
}

func (s *Server) registerRecords(api huma.API) {
	const tag = "records"
	huma.Register(api, operation(http.MethodGet, "/v1/keys", "keys", tag, "A page of the keys that the node keeps"),
		func(ctx context.Context, p *page) (*answer[schema.Keys], error) {
			prefix, err := hex.DecodeString(p.Prefix)
			if err != nil {
				return nil, problem(http.StatusBadRequest, "prefix %q is not in hexadecimal", p.Prefix)
			}
			return answered(s.node.Keys(ctx, prefix, p.Cursor, p.Limit))
		})
	huma.Register(api, operation(http.MethodGet, "/v1/keys/{key}", "stored", tag, "What the node has under a key, and who should have it"),
		func(ctx context.Context, asked *keyed) (*answer[schema.Stored], error) {
			key, err := keyOf(asked.Key)
			if err != nil {
				return nil, err
			}
			return answered(s.node.Stored(ctx, key))
		})
	op := operation(http.MethodPost, "/v1/put", "put", tag, "Store a value on the node, and where it is asked for on those nearest to the key", http.StatusConflict, http.StatusTooManyRequests, http.StatusGatewayTimeout, http.StatusInsufficientStorage)
	op.Middlewares = takes(putTime + askTime)
	post(api, op, s.put)
	get(api, "/v1/advertisements", "advertisements", tag, "What the node publishes again and again", func() schema.Advertisements {
		return schema.Advertisements{Advertisements: s.node.Advertisements()}
	})
	post(api, operation(http.MethodPost, "/v1/advertise", "advertise", tag, "Publish a service, or a value under a key, until it is withdrawn", http.StatusConflict, http.StatusGatewayTimeout, http.StatusInsufficientStorage), s.advertise)
	post(api, operation(http.MethodPost, "/v1/withdraw", "withdraw", tag, "End what is advertised under a key", http.StatusNotFound, http.StatusGatewayTimeout), s.withdraw)
}

// lived is a value whose life is another one, where ttl is not 0.
func lived(v wire.Raw, ttl int64) (wire.Raw, error) {
	if _, err := values.Parse(v); err != nil || ttl == 0 {
		return v, err
	}
	var pairs []wire.Pair
	for key, field := range v.Fields() {
		if name, _ := key.Bytes(); string(name) == "ttl" {
			continue
		}
		name, ok := key.Bytes()
		if !ok {
			return nil, problem(http.StatusBadRequest, "the value has a key that is no text: write its ttl into it")
		}
		pairs = append(pairs, wire.Pair{Key: string(name), Value: field})
	}
	return wire.RawMap(append(pairs, wire.Pair{Key: "ttl", Value: wire.RawInt(ttl)})...), nil
}

func (s *Server) put(ctx context.Context, asked schema.PutRequest) (done schema.Put, err error) {
	key, err := keyOf(asked.Key)
	if err != nil {
		return done, err
	}
	value, err := lived(asked.Value.Raw, asked.TTL)
	if err != nil {
		return done, err
	}
	ctx, cancel := context.WithTimeout(ctx, putTime)
	defer cancel()
	return s.node.Put(ctx, key, value, asked.Replicate)
}

func (s *Server) advertise(ctx context.Context, asked schema.AdvertiseRequest) (done schema.Advertisement, err error) {
	if (asked.Service == "") == (asked.Key == "") {
		return done, problem(http.StatusBadRequest, "want a service or a key")
	}
	if asked.Key != "" {
		if _, err := keyOf(asked.Key); err != nil {
			return done, err
		}
		if asked.Endpoint != "" || len(asked.Metadata.Raw) > 0 {
			return done, problem(http.StatusBadRequest, "an endpoint and metadata are of a service, and here is a key")
		}
		if asked.Value.Raw, err = lived(asked.Value.Raw, asked.TTL); err != nil {
			return done, err
		}
	} else if len(asked.Value.Raw) > 0 {
		return done, problem(http.StatusBadRequest, "a value is of a key, and here is a service")
	}
	return s.node.Advertise(ctx, asked)
}

func (s *Server) withdraw(ctx context.Context, asked schema.WithdrawRequest) (done schema.Withdrawn, err error) {
	key, err := keyOf(asked.Key)
	if err != nil {
		return done, err
	}
	n, err := s.node.Withdraw(ctx, key)
	if err == nil && n == 0 {
		return done, problem(http.StatusNotFound, "nothing is advertised under %s", asked.Key)
	}
	return schema.Withdrawn{Key: asked.Key, Withdrawn: n}, err
}
