package signed

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

var update = flag.Bool("update", false, "write testdata/vectors.json anew")

const vectorsFile = "testdata/vectors.json"

// vector is a proof with all that it is made of, bytes in hexadecimal.
type vector struct {
	Name      string `json:"name"`
	Seed      byte   `json:"seed_byte"` // the Ed25519 seed is 32 times this byte
	PublicKey string `json:"public_key"`
	PeerID    string `json:"peer_id"`
	NodeID    string `json:"node_id"`
	Realm     string `json:"realm"`
	Key       string `json:"key"`
	Value     string `json:"value"` // empty for a tombstone
	Sequence  int64  `json:"sequence_ms"`
	Expires   int64  `json:"expires_ms"`
	Digest    string `json:"digest"`
	Payload   string `json:"payload"`
	Signed    string `json:"signed_bytes"`
	Proof     string `json:"proof"`
}

// seeded returns the key of a seed byte.
func seeded(t testing.TB, seed byte) (crypto.PrivKey, routing.ID) {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(bytes.NewReader(bytes.Repeat([]byte{seed}, 32)))
	require.NoError(t, err)
	p, err := peer.IDFromPrivateKey(key)
	require.NoError(t, err)
	return key, routing.IDFromPeer(p)
}

// prefixed is a field as libp2p signs it.
func prefixed(fields ...[]byte) (b []byte) {
	for _, f := range fields {
		b = append(binary.AppendUvarint(b, uint64(len(f))), f...)
	}
	return b
}

// makeVectors makes the vectors from their seeds, by the page and not by the package, but
// for the envelope.
func makeVectors(t testing.TB) (all []vector) {
	const from = 1_767_225_600_123
	for _, c := range []struct {
		name, realm string
		seed        byte
		key         []byte
		withValue   bool
		life        int64
	}{
		{"a service", "org.example.mesh", 1, bytes.Repeat([]byte{0xab}, 32), true, 300_000},
		{"of another node", "org.example.mesh", 2, bytes.Repeat([]byte{0xab}, 32), true, 300_000},
		{"the longest life", "org.example.mesh", 1, []byte("k"), true, 86_400_000},
		{"an empty key in a long realm", string(bytes.Repeat([]byte("r"), 200)), 3, []byte{}, true, 1},
		{"a tombstone", "org.example.mesh", 1, bytes.Repeat([]byte{0xab}, 32), false, 300_000},
	} {
		private, id := seeded(t, c.seed)
		public, err := crypto.MarshalPublicKey(private.GetPublic())
		require.NoError(t, err)
		p, err := peer.IDFromPrivateKey(private)
		require.NoError(t, err)
		var value []byte
		if c.withValue {
			value = wire.RawMap(wire.Pair{Key: "node_id", Value: wire.RawBytes(id[:])},
				wire.Pair{Key: "endpoint", Value: wire.RawText("https://192.0.2.7:9443")}, wire.Pair{Key: "ttl", Value: wire.RawInt(300)})
		}
		signer, err := NewSigner(private, c.realm)
		require.NoError(t, err)
		proof, err := signer.Seal(c.key, value, time.UnixMilli(from), time.UnixMilli(from+c.life))
		require.NoError(t, err)

		digest := sha256.Sum256(append(prefixed([]byte(c.realm), c.key), value...))
		payload := binary.BigEndian.AppendUint64(nil, from)
		payload = append(binary.BigEndian.AppendUint64(payload, uint64(from+c.life)), digest[:]...)
		all = append(all, vector{
			Name: c.name, Seed: c.seed, PublicKey: hex.EncodeToString(public), PeerID: p.String(), NodeID: id.String(),
			Realm: c.realm, Key: hex.EncodeToString(c.key), Value: hex.EncodeToString(value),
			Sequence: from, Expires: from + c.life, Digest: hex.EncodeToString(digest[:]), Payload: hex.EncodeToString(payload),
			Signed: hex.EncodeToString(prefixed([]byte(Domain), []byte(PayloadType), payload)),
			Proof:  hex.EncodeToString(proof.Envelope),
		})
	}
	return all
}

func readVectors(t testing.TB) (all []vector) {
	t.Helper()
	b, err := os.ReadFile(vectorsFile)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &all))
	return all
}

func unhex(t testing.TB, digits string) []byte {
	t.Helper()
	b, err := hex.DecodeString(digits)
	require.NoError(t, err)
	return b
}

// The bytes are those of the vectors, by which other languages go; and what the vectors
// say is signed is what the signature in the proof is of.
func TestVectors(t *testing.T) {
	if *update {
		b, err := json.MarshalIndent(makeVectors(t), "", "  ")
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(vectorsFile, append(b, '\n'), 0o644))
	}
	all := readVectors(t)
	require.Equal(t, makeVectors(t), all, "run the test with -update where the format was changed on purpose")
	for _, v := range all {
		t.Run(v.Name, func(t *testing.T) {
			proof := unhex(t, v.Proof)
			public, err := crypto.UnmarshalPublicKey(unhex(t, v.PublicKey))
			require.NoError(t, err)
			require.True(t, bytes.HasSuffix(proof[:len(proof)-66], unhex(t, v.Payload)), "the payload, then field 5 of 64 bytes")
			ok, err := public.Verify(unhex(t, v.Signed), proof[len(proof)-64:])
			require.NoError(t, err)
			require.True(t, ok)

			s, err := NewVerifier(v.Realm).open(proof)
			require.NoError(t, err)
			require.Equal(t, v.NodeID, s.by.String())
			require.Equal(t, v.Sequence, s.proof.Sequence)
			require.Equal(t, v.Expires, s.proof.Expires)
			require.Equal(t, digest(v.Realm, unhex(t, v.Key), unhex(t, v.Value)), s.digest)
			require.Equal(t, v.Digest, hex.EncodeToString(s.digest[:]))
		})
	}
}
