package upkeep

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/routingtest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// settle lets the hand-over to those that are known already go by.
const settle = 2 * DefaultHandOverDelay

// keyOf returns a key to which so many of some contacts are nearer than this node.
func keyOf(s *script, nearer int, of []routing.Contact) []byte {
	for seed := uint64(0); ; seed++ {
		key, n := routingtest.RandomID(routingtest.Rand(seed)), 0
		if nearer == 0 { // this node is nearest of all
			key = routingtest.IDAt(routingtest.Rand(seed), s.Server.Self(), 200)
		}
		for _, c := range of {
			if key.Closer(c.ID, s.Server.Self()) {
				n++
			}
		}
		if n == nearer {
			return key[:]
		}
	}
}

// at returns a contact that shares so many leading bits with the key.
func at(key []byte, bits, i int) routing.Contact {
	id := routingtest.IDAt(routingtest.Rand(uint64(i)), routing.ID(key), bits)
	c := routingtest.Libp2p(id, routingtest.Peer(1000+i).Peer)
	c.LastSeen = time.Now()
	return c
}

// storeOwn is a record of this node's own, that lives so long.
func storeOwn(s *script, key []byte, provider string, life time.Duration) {
	require.NoError(s.T, s.Server.Records().Store(context.Background(), records.Put{Key: key, Value: value(provider, 3600), NodeID: []byte(provider), TTL: life}))
}

// handed returns what a contact was asked to keep.
func handed(s *script, to routing.Contact) (stores []procedures.StoreArgs) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	for i, m := range s.Messages {
		if call, ok := m.(*wire.Call); ok && s.Asked[i] == to.ID {
			require.Equal(s.T, wire.ProcedureStore, call.Procedure)
			require.Len(s.T, call.CallID, 16)
			var args procedures.StoreArgs
			require.NoError(s.T, args.Decode(call.Args))
			stores = append(stores, args)
		}
	}
	return stores
}

// Liars that are the nearest to a key hand nothing over: of the others some are drawn to.
func TestHandOverByOneThatIsDrawn(t *testing.T) {
	for name, handedOver := range map[string]int{"drawn": 1, "not drawn": 0} {
		t.Run(name, func(t *testing.T) {
			play(t, 60, func(t *testing.T, s *script) {
				for _, c := range s.Peers {
					c.LastSeen = time.Now()
					s.Know(c)
				}
				u := startUpkeep(s, drawn(handedOver > 0))
				defer u.Close()
				key := keyOf(s, handOverHolders+4, s.Peers)
				storeOwn(s, key, "a", time.Hour)
				forgetHandOvers(s)
				c := at(key, 100, 1)
				s.Know(c)
				time.Sleep(DefaultHandOverDelay + time.Minute)
				require.Len(t, handed(s, c), handedOver)
				for _, o := range s.Peers {
					require.Empty(t, handed(s, o), "who was known has what it needs")
				}
			})
		})
	}
	drawn, of := 0, 80_000
	for range of {
		if defaults().isDrawn() {
			drawn++
		}
	}
	require.InDelta(t, of/handOverDraw, drawn, 1000)
}

func TestHandOver(t *testing.T) {
	const others = 60
	newcomer := func(bits int) func([]byte) routing.Contact {
		return func(key []byte) routing.Contact { return at(key, bits, 1) }
	}
	tests := map[string]struct {
		nearer   int // how many of the others are nearer to the key than this node
		others   int
		newcomer func(key []byte) routing.Contact
		life     time.Duration
		handed   int
	}{
		"to one of the nearest":          {0, others, newcomer(100), time.Hour, 2},
		"that is farther than this node": {0, others, newcomer(5), time.Hour, 2},
		"not to one beyond the k-th":     {0, others, newcomer(0), time.Hour, 0},
		"not to an Erlang node": {0, others, func(key []byte) routing.Contact {
			c := at(key, 100, 1)
			c.Peer, c.Endpoint = "", "https://192.0.2.1:1"
			return c
		}, time.Hour, 0},
		"not what has expired":                 {0, others, newcomer(100), settle, 0},
		"not in the last second of its life":   {0, others, newcomer(100), settle + DefaultHandOverDelay + time.Second/2, 0},
		"by the third":                         {handOverHolders - 1, others, newcomer(100), time.Hour, 2},
		"not by the fourth":                    {handOverHolders, others, newcomer(100), time.Hour, 0},
		"not by the last of the k":             {routing.BucketSize - 2, others, newcomer(100), time.Hour, 0},
		"by the one whose place it takes":      {routing.BucketSize - 1, others, newcomer(100), time.Hour, 2},
		"by one that is astray":                {routing.BucketSize + 5, others, newcomer(100), time.Hour, 2},
		"in a small network":                   {0, 3, newcomer(100), time.Hour, 2},
		"wherever the newcomer is":             {1, 3, newcomer(0), time.Hour, 2},
		"by the farthest, which may be astray": {4, 4, newcomer(100), time.Hour, 2},
		"not by the fifth of six":              {4, 5, newcomer(100), time.Hour, 0},
		"to the first that is met":             {0, 0, newcomer(3), time.Hour, 2},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, tt.others, func(t *testing.T, s *script) {
				for _, c := range s.Peers {
					c.LastSeen = time.Now()
					s.Know(c)
				}
				u := startUpkeep(s)
				defer u.Close()
				key := keyOf(s, tt.nearer, s.Peers)
				storeOwn(s, key, "a", tt.life)
				storeOwn(s, key, "b", tt.life)
				forgetHandOvers(s)
				before := u.Stats().HandedOver
				c := tt.newcomer(key)
				s.Know(c)
				time.Sleep(DefaultHandOverDelay + time.Minute)
				stores := handed(s, c)
				require.Len(t, stores, tt.handed)
				var got []string
				for _, args := range stores {
					require.Equal(t, key, args.Key)
					v, err := values.Parse(args.Value)
					require.NoError(t, err)
					got = append(got, string(v.NodeID))
					left := tt.life - settle - DefaultHandOverDelay
					require.InDelta(t, left.Seconds(), args.ExpiresIn.V, 1)
					require.LessOrEqual(t, float64(args.ExpiresIn.V), left.Seconds(), "it lives no longer there")
				}
				require.ElementsMatch(t, []string{"a", "b"}[:tt.handed], got)
				require.EqualValues(t, tt.handed, u.Stats().HandedOver-before)
				for _, o := range s.Peers {
					require.Empty(t, handed(s, o), "who was known has what it needs")
				}
			})
		})
	}
}

// What gateways registered stays here: nobody takes it over libp2p.
func TestRegistrationsOfGatewaysStay(t *testing.T) {
	tests := map[string]func(s *script, u *Upkeep, c routing.Contact){
		"for a newcomer": func(s *script, _ *Upkeep, c routing.Contact) {
			s.Know(c)
			time.Sleep(DefaultHandOverDelay + time.Minute)
		},
		"when this node leaves": func(s *script, u *Upkeep, c routing.Contact) {
			s.Know(c)
			u.Leave(context.Background())
		},
	}
	for name, handOver := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, 0, func(t *testing.T, s *script) {
				u := startUpkeep(s)
				defer u.Close()
				key := keyOf(s, 0, nil)
				storeOwn(s, key, "a", time.Hour)
				storeOwn(s, []byte(wire.GatewayPrefix+"gw"), "gw", time.Hour)
				c := at(key, 100, 1)
				handOver(s, u, c)
				stores := handed(s, c)
				require.Len(t, stores, 1)
				require.Equal(t, key, stores[0].Key)
				require.Zero(t, u.Stats().HandOverFailures)
			})
		})
	}
}

// forgetHandOvers lets the hand-over to those that are known go by, and forgets
// about it.
func forgetHandOvers(s *script) {
	time.Sleep(settle)
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.Asked, s.Messages, s.When = nil, nil, nil
}

// Erlang ids prove nothing: as near to a key as they like, they are taken neither
// for its holders nor for those that are to be.
func TestHandOverPastErlangNodes(t *testing.T) {
	play(t, 60, func(t *testing.T, s *script) {
		defer startUpkeep(s).Close()
		key := keyOf(s, 0, s.Peers)
		storeOwn(s, key, "a", time.Hour)
		for i := range 2 * routing.BucketSize {
			c := at(key, 240, i)
			c.Peer, c.Endpoint = "", fmt.Sprintf("https://192.0.2.1:%d", i)
			s.Know(c)
		}
		s.Know(s.Peers...)
		forgetHandOvers(s)
		newcomer := at(key, 100, 1)
		s.Know(newcomer)
		time.Sleep(settle)
		require.Len(t, handed(s, newcomer), 1)
	})
}

// The records of a key that is this node's own go to all that are new, at once.
func TestHandOverToAll(t *testing.T) {
	play(t, 30, func(t *testing.T, s *script) {
		defer startUpkeep(s).Close()
		key := keyOf(s, 0, s.Peers)
		storeOwn(s, key, "a", time.Hour)
		s.Know(s.Peers...)
		time.Sleep(DefaultCheckInterval - time.Second)
		slices.SortFunc(s.Peers, func(a, b routing.Contact) int { return routing.ID(key).CompareDistance(a.ID, b.ID) })
		for i, c := range s.Peers {
			require.Len(t, handed(s, c), min(1, max(0, routing.BucketSize-i)), "the %d-th", i)
		}
		s.Mu.Lock()
		defer s.Mu.Unlock()
		require.LessOrEqual(t, s.Most, handOversAtOnce)
	})
}

// fill stores n records of about 1 kB, of which a newcomer next to us is to have
// each.
func fill(s *script, n int) (newcomer routing.Contact, size int64) {
	key := keyOf(s, 0, s.Peers)
	for i := range n {
		id := routingtest.IDAt(routingtest.Rand(uint64(i)), routing.ID(key), 230)
		v := wire.RawMap(wire.Pair{Key: "node_id", Value: wire.RawBytes(make([]byte, 20))}, wire.Pair{Key: "data", Value: wire.RawBytes(make([]byte, 700))})
		put := records.Put{Key: id[:], Value: v, NodeID: make([]byte, 20), TTL: 20 * time.Hour}
		require.NoError(s.T, s.Server.Records().Store(s.T.Context(), put))
		size = int64(handOverBytes(put.Key, &records.Record{Value: v}))
	}
	return at(key, 210, 1), size
}

func TestHandOverIsSlowEnough(t *testing.T) {
	play(t, 3, func(t *testing.T, s *script) {
		s.Know(s.Peers...)
		const bytesPerSecond = 10_000
		newcomer, size := fill(s, 500)
		u := startUpkeep(s, WithHandOver(time.Second, bytesPerSecond))
		defer u.Close()
		time.Sleep(time.Hour) // those that are known were newcomers too
		forgetHandOvers(s)
		start := time.Since(s.Start)
		s.Know(newcomer)
		time.Sleep(time.Hour)
		when := s.Questions(newcomer, wire.TypeCall)
		require.Len(t, when, 500)
		for i, at := range when {
			allowed := maxHandOver + bytesPerSecond*(at-start).Seconds()
			require.LessOrEqual(t, float64(int64(i+1)*size), allowed, "record %d", i)
		}
		require.Less(t, (when[499] - start).Seconds(), float64(500*size)/bytesPerSecond+2, "but not slower")
	})
}

// One newcomer of many takes no records as it should. The other gets all.
func TestHandOverBesideABadNewcomer(t *testing.T) {
	const records = 300
	good := after(routingtest.Delay, names())
	first := func(n int, then reply) reply {
		var calls atomic.Int64
		return func(ctx context.Context, m wire.Message) (wire.Message, error) {
			if m.Type() == wire.TypeCall && int(calls.Add(1)) > n {
				return then(ctx, m)
			}
			return good(ctx, m)
		}
	}
	calls := func(r reply) reply { return first(0, r) }
	tests := map[string]struct {
		reply       reply
		least, most int // how many it is offered
	}{
		"dead":               {calls(says(nil, proto.ErrUnreachable)), 1, handOversAtOnce},
		"silent":             {calls(never), 1, handOversAtOnce},
		"dies midway":        {first(100, says(nil, proto.ErrUnreachable)), 101, 100 + handOversAtOnce},
		"refuses":            {calls(says(nil, &proto.RefusedError{Reason: "realm_mismatch"})), 1, handOversAtOnce},
		"full":               {calls(says(nil, &proto.RemoteError{Code: wire.CodeBusy})), faultsAllowed, faultsAllowed + handOversAtOnce},
		"slow":               {calls(after(4*time.Second, names())), faultsAllowed, faultsAllowed + handOversAtOnce},
		"stalls after some":  {first(160, after(4*time.Second, names())), 160 + faultsAllowed, 160 + faultsAllowed + 160/faultsAllowed + handOversAtOnce},
		"has all, as owner":  {calls(says(nil, &proto.RemoteError{Code: wire.CodeNotOwner})), records, records},
		"keys are full":      {calls(says(nil, &proto.RemoteError{Code: wire.CodeKeyFull})), records, records},
		"slow now and again": {everyNth(50, after(2*time.Second, names()), good), records, records},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, 0, func(t *testing.T, s *script) {
				newcomer, _ := fill(s, records)
				bad := newcomer
				bad.ID[31] ^= 1
				bad.Peer = routingtest.Peer(77).Peer
				s.Replies[bad.ID] = tt.reply
				defer startUpkeep(s).Close()
				s.Know(bad, newcomer)
				time.Sleep(DefaultHandOverDelay + time.Minute)
				require.Len(t, handed(s, newcomer), records)
				offered := len(handed(s, bad))
				require.GreaterOrEqual(t, offered, tt.least)
				require.LessOrEqual(t, offered, tt.most)
			})
		})
	}
}

func everyNth(n int64, odd, usual reply) reply {
	var i atomic.Int64
	return func(ctx context.Context, m wire.Message) (wire.Message, error) {
		if i.Add(1)%n == 0 {
			return odd(ctx, m)
		}
		return usual(ctx, m)
	}
}

// A contact that comes and goes is handed its records once in a while.
func TestHandOverToOneThatComesAndGoes(t *testing.T) {
	play(t, 0, func(t *testing.T, s *script) {
		newcomer, _ := fill(s, 10)
		u := startUpkeep(s)
		defer u.Close()
		for until := time.Now().Add(handOverAgain); time.Now().Before(until); time.Sleep(15 * time.Second) {
			s.Server.Forget(newcomer.ID)
			s.Know(newcomer)
		}
		require.Len(t, handed(s, newcomer), 10)
		time.Sleep(2 * handOverAgain)
		require.Len(t, handed(s, newcomer), 20, "but what came meanwhile does get there")
		u.mu.Lock()
		defer u.mu.Unlock()
		require.Empty(t, u.newcomers)
	})
}

// However many come and go, no more of them are kept in mind than a table holds,
// and no more are served within a while.
func TestNewcomersAreBounded(t *testing.T) {
	play(t, 0, func(t *testing.T, s *script) {
		l := lookups(s)
		u := &Upkeep{server: s.Server, lookups: l, newcomers: map[routing.ID]bool{}, served: map[routing.ID]served{}, arrived: make(chan struct{}, 1), returned: make(chan struct{}, 1)}
		welcome := func(from, n int) {
			for i := range n {
				c := routingtest.Peer(from + i)
				s.Know(c)
				u.noteNewcomers([]routing.Contact{c}, nil)
			}
		}
		welcome(0, 2*maxNewcomers)
		require.Len(t, u.newcomers, maxNewcomers)
		for id := range u.newcomers {
			s.Server.Forget(id)
		}
		require.Empty(t, u.due(time.Now(), false), "they are gone again")
		require.Empty(t, u.newcomers)

		welcome(2*maxNewcomers, maxNewcomers-10)
		require.Len(t, u.due(time.Now(), false), maxNewcomers-10)
		welcome(3*maxNewcomers, 30)
		require.Len(t, u.due(time.Now(), false), 10, "enough for now")
		require.Empty(t, u.due(time.Now().Add(handOverAgain-1), false))
		require.Len(t, u.due(time.Now().Add(handOverAgain), false), 20, "later it is the others' turn")
	}, routing.WithBucketSize(4*maxNewcomers))
}

// Of a store that can not be read a failure is counted.
func TestHandOverFromABrokenStore(t *testing.T) {
	store := &unreadableStore{Store: records.NewMemoryStore()}
	kept, err := records.New(records.WithStore(store))
	require.NoError(t, err)
	defer kept.Close()
	play(t, 1, func(t *testing.T, s *script) {
		store.err = fmt.Errorf("disk on fire")
		u := startUpkeep(s)
		defer u.Close()
		s.Know(s.Peers...)
		time.Sleep(settle)
		require.EqualValues(t, 1, u.Stats().HandOverFailures)
	}, routing.WithRecords(kept))
}

type unreadableStore struct {
	records.Store
	err error
}

func (u *unreadableStore) Keys(ctx context.Context, prefix []byte, cursor records.Cursor, max int) ([][]byte, records.Cursor, error) {
	if u.err != nil {
		return nil, "", u.err
	}
	return u.Store.Keys(ctx, prefix, cursor, max)
}

// While a record is on its way, every other can be written to, and what is handed
// over later is what it has become by then.
func TestHandOverHoldsNothing(t *testing.T) {
	const count = 1000 // several in each part of the store, and several pages
	play(t, 0, func(t *testing.T, s *script) {
		newcomer, _ := fill(s, count)
		var once sync.Once
		s.Replies[newcomer.ID] = func(ctx context.Context, m wire.Message) (wire.Message, error) {
			var err error
			once.Do(func() { // the first is under way; no other has left before handOversAtOnce are
				key := keyOf(s, 0, s.Peers)
				for i := range count {
					id := routingtest.IDAt(routingtest.Rand(uint64(i)), routing.ID(key), 230)
					renewed := records.Put{Key: id[:], Value: value("renewed", 3600), NodeID: make([]byte, 20), TTL: 20 * time.Hour}
					err = errors.Join(err, s.Server.Records().Store(ctx, renewed))
				}
			})
			return &wire.Reply{}, err
		}
		defer startUpkeep(s, WithHandOver(DefaultHandOverDelay, 1<<30)).Close()
		s.Know(newcomer)
		time.Sleep(DefaultHandOverDelay + time.Minute)
		stores := handed(s, newcomer)
		require.Len(t, stores, count)
		keys, stale := map[string]bool{}, 0
		for _, args := range stores {
			keys[string(args.Key)] = true
			if !bytes.Equal(args.Value, value("renewed", 3600)) {
				stale++
			}
		}
		require.Len(t, keys, count, "each once")
		require.LessOrEqual(t, stale, handOversAtOnce+1)
	})
}
