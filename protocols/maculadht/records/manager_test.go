package records

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
)

func TestNewRefusesBadOptions(t *testing.T) {
	tests := map[string]Option{
		"nil store":             WithStore(nil),
		"negative total":        WithLimits(Limits{Bytes: -1}),
		"negative per source":   WithLimits(Limits{Bytes: 1000, BytesPerSource: -1}),
		"per source over total": WithLimits(Limits{Bytes: 1000, BytesPerSource: 1001}),
		"negative per group":    WithLimits(Limits{Bytes: 1000, BytesPerGroup: -1}),
		"per group over total":  WithLimits(Limits{Bytes: 1000, BytesPerGroup: 1001}),
		"per source over group": WithLimits(Limits{Bytes: 1000, BytesPerSource: 500, BytesPerGroup: 499}),
		"nil tracer":            WithMetricsTracer(nil),
		"no sweep interval":     WithSweepInterval(0),
		"store that can't load": WithStore(unreadable{NewMemoryStore()}),
	}
	for name, opt := range tests {
		t.Run(name, func(t *testing.T) {
			s, err := New(opt)
			require.Error(t, err)
			require.Nil(t, s)
		})
	}
}

// unreadable fails to list and to close.
type unreadable struct{ Store }

func (unreadable) Usage(context.Context) (Usage, error) { return Usage{}, errDisk }
func (unreadable) Close() error                         { return errDisk }
func (unreadable) Keys(context.Context, []byte, Cursor, int) ([][]byte, Cursor, error) {
	return nil, "", errDisk
}

func TestManagerClose(t *testing.T) {
	s, err := New()
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "twice is fine")

	s, err = New()
	require.NoError(t, err)
	s.store = unreadable{s.store}
	require.ErrorIs(t, s.Range(t.Context(), nil, nil), errDisk)
	require.ErrorIs(t, s.Close(), errDisk)
	require.ErrorIs(t, s.Close(), errDisk)
}

func TestSweeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := New()
		require.NoError(t, err)
		defer s.Close()
		for i := range 100 {
			require.NoError(t, s.Store(t.Context(), Put{
				Key: fmt.Append(nil, i/2), NodeID: fmt.Append(nil, i), Value: []byte("v"),
				TTL: time.Duration(i+1) * time.Second,
			}))
		}
		time.Sleep(time.Minute) // 60 expired, the last of them just now
		synctest.Wait()
		stats := s.Stats()
		require.EqualValues(t, 40, stats.Records)
		require.EqualValues(t, 20, stats.Keys)
		require.EqualValues(t, 60, stats.Expired)
		requireLedgerExact(t, s)

		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, Stats{Stored: 100, Expired: 100}, s.Stats())
	})
}

func TestReadsLeaveOutExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := New(WithSweepInterval(time.Hour))
		require.NoError(t, err)
		defer s.Close()
		for i := range 3 {
			p := by(fmt.Sprint(i), fmt.Sprint(i)).ttl(time.Duration(3-i) * time.Second)
			p.Key = key
			require.NoError(t, s.Store(t.Context(), p))
		}
		for _, want := range [][]string{{"2", "1", "0"}, {"1", "0"}, {"0"}} {
			recs, err := s.Values(t.Context(), key)
			require.NoError(t, err)
			require.Equal(t, want, values(recs))
			visited := 0
			require.NoError(t, s.Range(t.Context(), key[:1], func(k []byte, recs []Record) bool {
				visited++
				require.Equal(t, key, k)
				require.Equal(t, want, values(recs))
				return true
			}))
			require.Equal(t, 1, visited)
			time.Sleep(time.Second)
		}
		_, err = s.Values(t.Context(), key)
		require.ErrorIs(t, err, ErrNotFound)
		require.NoError(t, s.Range(t.Context(), key, func([]byte, []Record) bool {
			t.Error("visited a key without live records")
			return true
		}))
	})
}

func TestRange(t *testing.T) {
	s := newManager(t)
	keys := []string{"peer.gateway.", "peer.gateway.a", "peer.gateway.b", "peer.gatewa", "peer.gatewax", "other"}
	for _, k := range keys {
		require.NoError(t, s.Store(t.Context(), Put{Key: []byte(k), Value: []byte("v")}))
	}
	tests := map[string][]string{
		"":                 keys,
		"peer.gatewa":      keys[:5],
		wire.GatewayPrefix: keys[:3],
		"peer.gateway.a":   keys[1:2],
		"nothing":          nil,
	}
	for prefix, want := range tests {
		t.Run(fmt.Sprintf("%q", prefix), func(t *testing.T) {
			var got []string
			require.NoError(t, s.Range(t.Context(), []byte(prefix), func(k []byte, recs []Record) bool {
				require.Len(t, recs, 1)
				// A visitor may use the manager.
				require.NoError(t, s.Store(t.Context(), Put{Key: slices.Clone(k), Value: []byte("v")}))
				got = append(got, string(k))
				return true
			}))
			require.ElementsMatch(t, want, got)
		})
	}
	visits := 0
	require.NoError(t, s.Range(t.Context(), nil, func([]byte, []Record) bool { visits++; return visits < 2 }))
	require.Equal(t, 2, visits, "until visit returns false")
}

func TestStats(t *testing.T) {
	s := newManager(t, WithLimits(Limits{Bytes: 1000, BytesPerSource: 1000}))
	put := func(p Put) { p.Key = key; _ = s.Store(t.Context(), p) }
	put(by(string(alice), "1").from(alice))
	put(by(string(alice), "22").from(alice))
	put(by(string(alice), "3").from(bob))
	put(sized(1001, "a", "s"))
	require.Equal(t, Stats{
		Records: 1, Keys: 1, Bytes: int64(len(key) + 2 + RecordOverhead),
		OwnedRecords: 1, OwnedBytes: int64(len(key) + 2 + RecordOverhead),
		Stored: 1, Replaced: 1, NotOwner: 1, OverBudget: 1,
	}, s.Stats())
}

func TestManagerConcurrently(t *testing.T) {
	s := newManager(t, WithLimits(Limits{Bytes: 100_000, BytesPerSource: 20_000, BytesPerGroup: 30_000}), WithSweepInterval(time.Millisecond))
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			rng := newRand(uint64(w))
			for i := range 1500 {
				k := fmt.Append(nil, wire.GatewayPrefix, rng.IntN(10))
				err := s.Store(t.Context(), Put{
					Key: k, NodeID: fmt.Append(nil, rng.IntN(20)), Value: make([]byte, rng.IntN(500)),
					TTL: time.Duration(1+rng.IntN(5)) * time.Millisecond, Source: Source{Name: fmt.Sprint(w), Group: fmt.Sprint(w / 2)},
				})
				if err != nil && !errors.Is(err, ErrSourceBudget) && !errors.Is(err, ErrGroupBudget) && !errors.Is(err, ErrStoreFull) {
					t.Error(err)
				}
				if recs, err := s.Values(t.Context(), k); err == nil && len(recs) == 0 {
					t.Error("empty list")
				}
				if i%100 == 0 {
					_ = s.Range(t.Context(), []byte(wire.GatewayPrefix), func(k []byte, _ []Record) bool {
						_, _ = s.Values(t.Context(), k)
						return true
					})
					_ = s.Stats()
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, s.Close())
	requireLedgerExact(t, s)
	require.LessOrEqual(t, s.Stats().Bytes, int64(100_000))
}
