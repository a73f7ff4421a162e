package maculadht

import (
	"crypto/rand"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/signed"
)

// BenchmarkFindProviders finds the providers of two services at three holders over
// loopback, those of one with proofs, those of the other without, in turn, and reports
// the middle of what each takes. Each proof is verified once: the reader remembers it.
func BenchmarkFindProviders(b *testing.B) {
	for _, providers := range []int{1, 20} {
		b.Run(fmt.Sprintf("providers=%d", providers), func(b *testing.B) { benchmarkFindProviders(b, providers) })
	}
}

func benchmarkFindProviders(b *testing.B, providers int) {
	reader := newService(b, dhttest.Host(b), WithMode(ModeClient))
	holders := make([]*Service, 3)
	for i := range holders {
		holders[i] = newService(b, dhttest.Host(b), frames(rate.Inf, 1))
		dhttest.Connect(b, reader.host, holders[i].host)
	}
	for _, name := range []string{"proved", "plain"} {
		for range providers {
			put := providerPut(b, ServiceKey(name))
			if name == "plain" {
				put.Proof = nil
			}
			for _, s := range holders {
				require.NoError(b, s.Routing().Records().Store(b.Context(), put))
			}
		}
		require.Eventually(b, func() bool {
			found, err := reader.FindProviders(b.Context(), name)
			return err == nil && len(found) == providers && found[0].Proved == (name == "proved") && reader.Routing().Table().Len() == len(holders)
		}, dhttest.Patience, time.Millisecond)
	}
	took := make(map[string][]time.Duration)
	for b.Loop() {
		for _, name := range []string{"proved", "plain"} {
			start := time.Now()
			if _, err := reader.FindProviders(b.Context(), name); err != nil {
				b.Fatal(err)
			}
			took[name] = append(took[name], time.Since(start))
		}
	}
	for name, all := range took {
		slices.Sort(all)
		b.ReportMetric(float64(all[len(all)/2].Microseconds()), "µs-"+name)
	}
}

// providerPut is the record of a provider with a key of its own.
func providerPut(b *testing.B, key []byte) records.Put {
	b.Helper()
	private, _, err := crypto.GenerateEd25519Key(rand.Reader)
	require.NoError(b, err)
	signer, err := signed.NewSigner(private, proto.DefaultRealm)
	require.NoError(b, err)
	id, now := signer.NodeID(), time.Now()
	value := dhttest.Value(string(id[:]), wire.Pair{Key: "endpoint", Value: wire.RawText(honestEndpoint)})
	proof, err := signer.Seal(key, value, now, now.Add(time.Hour))
	require.NoError(b, err)
	return records.Put{Key: key, Value: value, NodeID: id[:], TTL: time.Hour, Proof: proof}
}
