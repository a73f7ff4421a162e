package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/interop/glass"
)

// authority is a CA and, signed by it, the certificate of a node that is dialled
// by the names given; all in files.
type authority struct{ ca, cert, key string }

func newAuthority(t *testing.T, ips []net.IP, names ...string) authority {
	t.Helper()
	dir := t.TempDir()
	file := func(name, kind string, der []byte, err error) string {
		require.NoError(t, err)
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return path
	}
	newKey := func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		return key
	}
	rootKey, leafKey := newKey(), newKey()
	root := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), IPAddresses: ips, DNSNames: names}
	rootDER, rootErr := x509.CreateCertificate(rand.Reader, root, root, rootKey.Public(), rootKey)
	leafDER, leafErr := x509.CreateCertificate(rand.Reader, leaf, root, leafKey.Public(), rootKey)
	keyDER, keyErr := x509.MarshalPKCS8PrivateKey(leafKey)
	return authority{
		ca:   file("ca.pem", "CERTIFICATE", rootDER, rootErr),
		cert: file("node.pem", "CERTIFICATE", leafDER, leafErr),
		key:  file("node.key", "PRIVATE KEY", keyDER, keyErr),
	}
}

var loopback = []net.IP{net.IPv4(127, 0, 0, 1)}

// pinIn returns the pin of the certificate in a data directory.
func pinIn(t *testing.T, data string) string {
	t.Helper()
	pair, err := os.ReadFile(filepath.Join(data, "tls.pem"))
	require.NoError(t, err)
	cert, err := tls.X509KeyPair(pair, pair)
	require.NoError(t, err)
	return identity.PinOf(cert.Leaf).String()
}

// TestProduction: flags and variables reach both who serves and who asks.
func TestProduction(t *testing.T) {
	mesh, other := newAuthority(t, loopback), newAuthority(t, loopback)
	t.Setenv("MACULA_TLS_MODE", "prod")
	t.Setenv("MACULA_TLS_CERTFILE", mesh.cert)
	t.Setenv("MACULA_TLS_KEYFILE", mesh.key)
	t.Setenv("MACULA_TLS_CACERTFILE", mesh.ca)
	_, s := started(t)
	byIP := s.Endpoints[0]
	byName := strings.Replace(byIP, "127.0.0.1", "localhost", 1)
	wrongPin := byIP + "#sha256=" + strings.Repeat("0f", 32)

	for _, test := range []struct {
		name   string
		verify string // MACULA_TLS_VERIFY_HOSTNAME
		args   []string
		code   int
		want   string // in stderr
	}{
		{"all from the environment", "", []string{byIP}, exitOK, ""},
		{"a name that it does not have", "", []string{byName}, exitUnreachable, "localhost"},
		{"a name that it does not have, verified", "1", []string{byName}, exitUnreachable, "localhost"},
		{"a name that is not verified", "false", []string{byName}, exitOK, ""},
		{"a name that is not verified, by 0", "0", []string{byName}, exitOK, ""},
		{"a flag before its variable", "false", []string{"--tls-verify-hostname", "true", byName}, exitUnreachable, "localhost"},
		{"a flag that turns it off", "true", []string{"--tls-verify-hostname=false", byName}, exitOK, ""},
		{"another CA", "", []string{"--tls-ca", other.ca, byIP}, exitUnreachable, "unknown authority"},
		{"another CA in development", "", []string{"--tls-ca", other.ca, "--tls-mode", "dev", byIP}, exitOK, ""},
		{"a pin of another key", "", []string{wrongPin}, exitUnreachable, "pinned is sha256=0f0f"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("MACULA_TLS_VERIFY_HOSTNAME", test.verify)
			got := macula(t, append([]string{"ping"}, test.args...)...)
			assert.Equal(t, test.code, got.code, got.stderr)
			assert.Contains(t, got.stderr, test.want)
		})
	}

	// What the refusal saw can be pinned, whoever signed it.
	seen := macula(t, "ping", "--tls-ca", other.ca, byIP).stderr
	pin := seen[strings.LastIndex(seen, "#sha256="):]
	assert.Equal(t, exitOK, macula(t, "ping", "--tls-ca", other.ca, byIP+strings.TrimSpace(pin)).code)
}

// TestCertificateStays: over a restart of the program, as a process, its key
// and so what others know it by is the same.
func TestCertificateStays(t *testing.T) {
	data := t.TempDir()
	var pins []string
	for range 2 {
		cmd := exec.Command(os.Args[0], "run", "--json", "--data-dir", data, "--listen", "/ip4/127.0.0.1/udp/0/quic-v1")
		cmd.Env = append(os.Environ(), beMain+"=1")
		var stdout, stderr buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		require.NoError(t, cmd.Start())
		t.Cleanup(func() { cmd.Process.Kill() })
		waitFor(t, "the line of --json", func() bool { return strings.HasSuffix(stdout.String(), "\n") })
		var s serving
		require.NoError(t, json.Unmarshal([]byte(stdout.String()), &s))
		pins = append(pins, pinIn(t, data))
		got := macula(t, "ping", s.Endpoints[0]+"#"+pins[0])
		assert.Equal(t, exitOK, got.code, got.stderr)
		assert.Contains(t, stderr.String(), pins[0], "the log tells it")
		require.NoError(t, cmd.Process.Kill())
		require.Error(t, cmd.Wait(), "killed")
	}
	assert.Equal(t, pins[0], pins[1])
}

// TestPortFromEnvironment: it is the one that is listened on, which here is
// taken, unless --listen says otherwise.
func TestPortFromEnvironment(t *testing.T) {
	port := silence(t)
	t.Setenv("MACULA_QUIC_PORT", port)
	got := macula(t, "run", "--data-dir", t.TempDir(), "--port-mapping=false") // else it would ask the network for a router
	assert.Equal(t, exitUsage, got.code)
	assert.Contains(t, got.stderr, "/udp/"+port+"/quic-v1")
	assert.Contains(t, got.stderr, "is another program using the UDP port?")

	_, s := started(t) // with --listen
	assert.NotContains(t, s.Endpoints[0], ":"+port)

	t.Setenv("MACULA_QUIC_PORT", "nonsense")
	got = macula(t, "run", "--data-dir", t.TempDir(), "--port-mapping=false", "--port", port)
	assert.Contains(t, got.stderr, "/udp/"+port+"/quic-v1", "the flag wins")
	got = macula(t, "run", "--data-dir", t.TempDir())
	assert.Equal(t, exitUsage, got.code)
	assert.Contains(t, got.stderr, `--port (MACULA_QUIC_PORT) "nonsense"`)
}

// TestBootstrapFromEnvironment: endpoints and multiaddrs mixed, with spaces and
// brackets; the flag wins.
func TestBootstrapFromEnvironment(t *testing.T) {
	_, other := started(t)
	gateway, silent := erlangGateway(t), silence(t)
	t.Setenv("MACULA_BOOTSTRAP_PEERS", " https://[::1]:"+silent+" , "+other.Addrs[0]+","+gateway.Endpoint()+",https://localhost:"+silent+"#sha256="+strings.Repeat("0f", 32)+",")
	r, _ := started(t)
	for _, text := range []string{
		`macula/dht	connected to bootstrap peer	{"peer": "` + other.PeerID,
		`macula/dht	joined the network	{"realm": "macula.default", "as": "server", "peers": `,
		`macula/uplink	joined the gateway	{"gateway": "` + gateway.Endpoint(),
		`macula/uplink	gateway not reached	{"gateway": "https://[::1]:` + silent,
		`macula/uplink	gateway not reached	{"gateway": "https://localhost:` + silent,
	} {
		waitFor(t, text, func() bool { return strings.Contains(r.stderr.String(), text) })
	}
	assert.Empty(t, gateway.Broken())

	// A lookup begins at the peers among them.
	got := macula(t, "lookup", "nothing")
	assert.Equal(t, exitNotFound, got.code, got.stderr)

	named := erlangGateway(t)
	r, _ = started(t, "--bootstrap", named.Endpoint())
	waitFor(t, "the gateway", func() bool { return strings.Contains(r.stderr.String(), "joined the gateway") })
	assert.NotContains(t, r.stderr.String(), "localhost")

	t.Setenv("MACULA_BOOTSTRAP_PEERS", gateway.Endpoint()+",nonsense")
	got = macula(t, "run", "--data-dir", t.TempDir())
	assert.Equal(t, exitUsage, got.code)
	assert.Contains(t, got.stderr, `"nonsense"`)
}

// erlangGateway starts a double of an Erlang gateway.
func erlangGateway(t *testing.T, opts ...glass.Option) *glass.Gateway {
	t.Helper()
	g, err := glass.Start(append([]glass.Option{glass.RegisterAfter(0)}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.Close()) })
	return g
}

// TestGatewayOfAnotherRealm: it gets no CONNECT, which would hang it, and the
// operator is told.
func TestGatewayOfAnotherRealm(t *testing.T) {
	gateway := erlangGateway(t, glass.Realm("other"))
	got := macula(t, "run", "--data-dir", t.TempDir(), "--listen", "/ip4/127.0.0.1/udp/0/quic-v1", "--bootstrap", gateway.Endpoint(), "--realm", "ours")
	assert.Equal(t, exitUnreachable, got.code)
	for _, text := range []string{gateway.Endpoint(), `serves "other"`, `this node "ours"`, "name one of this realm"} {
		assert.Contains(t, got.stderr, text)
	}
	assert.Empty(t, gateway.Broken())
	assert.Zero(t, gateway.Stats().Frames[wire.TypeConnect])
}

// TestName: it names the node in its log and in what it prints, and not to
// others.
func TestName(t *testing.T) {
	data := t.TempDir()
	r, plain := started(t, "--data-dir", data)
	assert.Empty(t, plain.Name)
	r.stop()
	r.ended <- <-r.ended
	t.Setenv("NODE_NAME", "gw-1")
	r, s := started(t, "--data-dir", data)
	assert.Equal(t, "gw-1", s.Name)
	assert.Equal(t, plain.NodeID, s.NodeID)
	assert.Contains(t, r.stderr.String(), `"name": "gw-1"`)

	r = start(t, "--name", "gw-2")
	waitFor(t, "the banner", func() bool { return strings.Contains(r.stdout.String(), "Ctrl-C stops it.") })
	assert.True(t, strings.HasPrefix(r.stdout.String(), "macula-node gw-2 serves the realm macula.default\n"), r.stdout.String())
}
