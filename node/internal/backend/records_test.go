package backend

import (
	"context"
	"encoding/hex"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/node/api/schema"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/rpc"
)

// What is put is listed, in pages, and told.
func TestKeys(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const keys = 25
	for i := range keys {
		done, err := r.Put(t.Context(), fmt.Appendf(nil, "key %02d", i), value(t, `{"a":1,"ttl":60}`), false)
		require.NoError(t, err)
		require.EqualValues(t, 60, done.TTL)
		require.Equal(t, 1, done.Acknowledged)
	}
	seen, cursor := map[string]bool{}, ""
	for pages := 0; ; pages++ {
		require.Less(t, pages, keys)
		page, err := r.Keys(t.Context(), []byte("key"), cursor, 10)
		require.NoError(t, err)
		require.LessOrEqual(t, len(page.Keys), 10)
		for _, k := range page.Keys {
			require.False(t, seen[k.Key])
			seen[k.Key] = true
			require.Equal(t, 1, k.Records)
			require.WithinDuration(t, time.Now().Add(time.Minute), k.Expires, patience)
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	require.Len(t, seen, keys)
	page, err := r.Keys(t.Context(), []byte("none"), "", 10)
	require.NoError(t, err)
	require.Empty(t, page.Keys)
	_, err = r.Keys(t.Context(), nil, "no digits", 10)
	require.ErrorIs(t, err, records.ErrCursor)

	s, err := r.Stored(t.Context(), []byte("key 07"))
	require.NoError(t, err)
	require.Len(t, s.Records, 1)
	require.JSONEq(t, `{"a":1,"ttl":60}`, jsonOf(t, s.Records[0].Value))
	require.False(t, s.Records[0].Proved)
	require.Equal(t, "this node", s.Records[0].Source)
	require.True(t, s.Near, "as nobody else is known")
	require.NotNil(t, s.Changed)
	s, err = r.Stored(t.Context(), []byte("none"))
	require.NoError(t, err)
	require.Empty(t, s.Records)
	require.Nil(t, s.Changed)
}

func jsonOf(t *testing.T, v schema.Value) string {
	t.Helper()
	text, err := v.MarshalJSON()
	require.NoError(t, err)
	return string(text)
}

// What can not be stored is refused as what it is.
func TestPutRefuses(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, err := r.Put(t.Context(), []byte("k"), value(t, `[1]`), false)
	require.Error(t, err)
	_, err = r.Put(t.Context(), []byte(wire.GatewayPrefix+"x"), value(t, `{"a":1}`), false)
	require.ErrorIs(t, err, proto.ErrInvalidRequest)
}

// What the API has advertised it ends, and that alone: what is told of a subscription or of a
// procedure ends with these.
func TestWithdraw(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	next := r.listen(t)
	n, err := r.Withdraw(t.Context(), []byte("k"))
	require.NoError(t, err)
	require.Zero(t, n)

	for range 3 { // the same each time
		made, err := r.Advertise(t.Context(), schema.AdvertiseRequest{Key: hex.EncodeToString([]byte("k")), Value: schema.Value{Raw: value(t, `{"a":1}`)}})
		require.NoError(t, err)
		require.JSONEq(t, `{"a":1}`, jsonOf(t, made.Value))
		require.Equal(t, "6b", next(schema.EventAdvertised).Text)
	}
	require.Len(t, r.Advertisements(), 1)
	n, err = r.Withdraw(t.Context(), []byte("k"))
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, "6b", next(schema.EventWithdrawn).Text)
	require.Empty(t, r.Advertisements())
	require.Empty(t, r.advertised.own)

	sub, err := r.Subscribe(t.Context(), "topic")
	require.NoError(t, err)
	defer sub.Close()
	require.Eventually(t, func() bool { return len(r.Advertisements()) == 1 }, patience, time.Millisecond)
	_, err = r.Withdraw(t.Context(), maculadht.ServiceKey("topic"))
	require.ErrorIs(t, err, proto.ErrInvalidRequest)
	require.ErrorContains(t, err, "it ends with that")
	require.Len(t, r.Advertisements(), 1)

	p, err := r.Calls.Serve(t.Context(), "procedure", func(context.Context, *rpc.Request) (any, error) { return nil, nil })
	require.NoError(t, err)
	_, err = r.Advertise(t.Context(), schema.AdvertiseRequest{Service: "procedure"})
	require.NoError(t, err)
	require.Len(t, r.Advertisements(), 2, "it is the same record")
	n, err = r.Withdraw(t.Context(), maculadht.ServiceKey("procedure"))
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Len(t, r.Advertisements(), 2, "and stays as long as it is served")
	_, err = r.Withdraw(t.Context(), maculadht.ServiceKey("procedure"))
	require.ErrorIs(t, err, proto.ErrInvalidRequest)
	require.NoError(t, p.Withdraw())
	require.Len(t, r.Advertisements(), 1)

	_, err = r.Service.Advertise(t.Context(), []byte("program"), value(t, `{"a":2}`))
	require.NoError(t, err)
	n, err = r.Withdraw(t.Context(), []byte("program"))
	require.NoError(t, err)
	require.Equal(t, 1, n, "an operator may end what the program itself advertises")
}
