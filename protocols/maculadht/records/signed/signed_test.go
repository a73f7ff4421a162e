package signed

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/record"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

const realm = "org.example.mesh"

var (
	key   = []byte("a key")
	value = []byte("a value")
)

func sealed(t testing.TB, seed byte, key, value []byte, from time.Time, life time.Duration) []byte {
	t.Helper()
	private, _ := seeded(t, seed)
	s, err := NewSigner(private, realm)
	require.NoError(t, err)
	p, err := s.Seal(key, value, from, from.Add(life))
	require.NoError(t, err)
	return p.Envelope
}

// Every kind of key that libp2p knows can prove its records, within the limit.
func TestKindsOfKeys(t *testing.T) {
	for name, kind := range map[string]struct{ typ, bits int }{
		"Ed25519": {crypto.Ed25519, 0}, "Secp256k1": {crypto.Secp256k1, 0}, "ECDSA": {crypto.ECDSA, 0},
		"RSA of 2,048 bits": {crypto.RSA, 2048},
	} {
		t.Run(name, func(t *testing.T) {
			private, _, err := crypto.GenerateKeyPairWithReader(kind.typ, kind.bits, rand.Reader)
			require.NoError(t, err)
			s, err := NewSigner(private, realm)
			require.NoError(t, err)
			p, err := peer.IDFromPrivateKey(private)
			require.NoError(t, err)
			require.Equal(t, routing.IDFromPeer(p), s.NodeID())
			now := time.Now()
			made, err := s.Seal(key, value, now, now.Add(time.Minute))
			require.NoError(t, err)
			id := s.NodeID()
			read, err := NewVerifier(realm).Verify(key, value, id[:], made.Envelope)
			require.NoError(t, err)
			require.Equal(t, made, read)
			require.Equal(t, now.UnixMilli(), read.Sequence)
			require.Equal(t, now.Add(time.Minute).UnixMilli(), read.Expires)
		})
	}
	_, err := NewSigner(nil, realm)
	require.Error(t, err)
}

func TestWhatCanNotBeSealed(t *testing.T) {
	private, _ := seeded(t, 1)
	s, err := NewSigner(private, realm)
	require.NoError(t, err)
	now := time.Now()
	for name, until := range map[string]time.Time{
		"no life": now, "an end before its beginning": now.Add(-time.Second), "more than the longest life": now.Add(values.MaxTTL + time.Millisecond),
	} {
		_, err := s.Seal(key, value, now, until)
		require.ErrorContains(t, err, "want a life of 1 ms to 24h0m0s", name)
	}
}

// A proof holds for its own record alone, whether or not it was seen before.
func TestForged(t *testing.T) {
	now := time.Now()
	_, owner := seeded(t, 1)
	_, other := seeded(t, 2)
	good := sealed(t, 1, key, value, now, time.Minute)
	changed := func(at int) []byte {
		b := bytes.Clone(good)
		b[at] ^= 1
		return b
	}
	private, _ := seeded(t, 1)
	otherType, err := record.Seal(&strangerRecord{codec: "/macula/other/1", domain: Domain}, private)
	require.NoError(t, err)
	otherDomain, err := record.Seal(&strangerRecord{codec: PayloadType, domain: "other"}, private)
	require.NoError(t, err)
	marshal := func(e *record.Envelope) []byte {
		b, err := e.Marshal()
		require.NoError(t, err)
		return b
	}
	for name, test := range map[string]struct {
		realm              string
		key, value, nodeID []byte
		envelope           []byte
	}{
		"another key":           {realm, []byte("another"), value, owner[:], good},
		"another value":         {realm, key, []byte("another"), owner[:], good},
		"key and value shifted": {realm, []byte("a ke"), []byte("ya value"), owner[:], good},
		"another realm":         {"org.other", key, value, owner[:], good},
		"another node id":       {realm, key, value, other[:], good},
		"no node id":            {realm, key, value, nil, good},
		"another's signature":   {realm, key, value, owner[:], sealed(t, 2, key, value, now, time.Minute)},
		"a changed signature":   {realm, key, value, owner[:], changed(len(good) - 1)},
		"a changed payload":     {realm, key, value, owner[:], changed(len(good) - 80)},
		"cut short":             {realm, key, value, owner[:], good[:len(good)-1]},
		"nothing":               {realm, key, value, owner[:], nil},
		"rubbish":               {realm, key, value, owner[:], []byte("rubbish")},
		"too long":              {realm, key, value, owner[:], append(bytes.Clone(good), make([]byte, wire.MaxProof)...)},
		"a tombstone":           {realm, key, value, owner[:], sealed(t, 1, key, nil, now, time.Minute)},
		"another type":          {realm, key, value, owner[:], marshal(otherType)},
		"another domain":        {realm, key, value, owner[:], marshal(otherDomain)},
	} {
		t.Run(name, func(t *testing.T) {
			v := NewVerifier(test.realm)
			for range 2 {
				p, err := v.Verify(test.key, test.value, test.nodeID, test.envelope)
				require.ErrorIs(t, err, ErrForged)
				require.Nil(t, p)
			}
		})
	}
	v := NewVerifier(realm)
	for range 2 {
		_, err := v.Verify(key, value, owner[:], good)
		require.NoError(t, err)
		_, _, err = v.VerifyTombstone(key, good)
		require.ErrorIs(t, err, ErrForged, "a value's proof withdraws nothing")
	}
	id, p, err := v.VerifyTombstone(key, sealed(t, 1, key, nil, now, time.Minute))
	require.NoError(t, err)
	require.Equal(t, owner[:], id)
	require.Equal(t, now.UnixMilli(), p.Sequence)
}

// strangerRecord is signed for another purpose.
type strangerRecord struct{ codec, domain string }

func (r *strangerRecord) Domain() string { return r.domain }
func (r *strangerRecord) Codec() []byte  { return []byte(r.codec) }
func (*strangerRecord) MarshalRecord() ([]byte, error) {
	return (&payload{sequence: 1, expires: 2}).MarshalRecord()
}
func (*strangerRecord) UnmarshalRecord([]byte) error { return nil }

// Clocks may be ten minutes apart, and no more.
func TestSkew(t *testing.T) {
	for name, test := range map[string]struct {
		from, life time.Duration // from the reader's now on
		want       error
	}{
		"now":                       {0, time.Minute, nil},
		"ten minutes ahead":         {10 * time.Minute, time.Minute, nil},
		"more than that":            {10*time.Minute + time.Millisecond, time.Minute, ErrUntimely},
		"ended just now":            {-time.Minute, time.Minute, nil},
		"ended almost ten min ago":  {-11*time.Minute + time.Millisecond, time.Minute, nil},
		"ended ten minutes ago":     {-11 * time.Minute, time.Minute, ErrUntimely},
		"sealed in another century": {100 * 365 * 24 * time.Hour, time.Minute, ErrUntimely},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, owner := seeded(t, 1)
				now := time.Now()
				v := NewVerifier(realm)
				for range 2 {
					p, err := v.Verify(key, value, owner[:], sealed(t, 1, key, value, now.Add(test.from), test.life))
					require.ErrorIs(t, err, test.want)
					require.Equal(t, test.want == nil, p != nil)
				}
			})
		})
	}
}

// What is remembered is bounded, and what is asked for stays.
func TestRemembered(t *testing.T) {
	v := NewVerifier(realm)
	_, owner := seeded(t, 1)
	good := sealed(t, 1, key, value, time.Now(), time.Minute)
	first, err := v.Verify(key, value, owner[:], good)
	require.NoError(t, err)
	for i := range 3 * maxRemembered {
		v.remember([32]byte{byte(i), byte(i >> 8), byte(i >> 16), 1}, new(sealedProof))
		if i%1000 == 0 {
			again, err := v.Verify(key, value, owner[:], good)
			require.NoError(t, err)
			require.Same(t, first, again, "not verified again")
		}
		require.LessOrEqual(t, len(v.recent)+len(v.older), 2*maxRemembered)
	}
}

// BenchmarkVerify is what a copy costs its reader, the first time and then.
func BenchmarkVerify(b *testing.B) {
	_, owner := seeded(b, 1)
	now := time.Now()
	record := bytes.Repeat([]byte("v"), 200)
	envelope := sealed(b, 1, key, record, now, time.Hour)
	for _, remembered := range []bool{false, true} {
		b.Run(fmt.Sprintf("remembered=%v", remembered), func(b *testing.B) {
			v := NewVerifier(realm)
			b.ReportAllocs()
			for b.Loop() {
				if !remembered {
					clear(v.recent)
				}
				if _, err := v.Verify(key, record, owner[:], envelope); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
