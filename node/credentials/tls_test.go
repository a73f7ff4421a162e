package credentials_test

import (
	"bytes"
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/node/credentials"
	"github.com/macula-mesh/macula-node/node/credentials/credentialstest"
)

// What is wrong with a file is said at the start, with its setting and its name.
func TestTLSFiles(t *testing.T) {
	m := credentialstest.NewMesh(t)
	cert, key := m.Issue("node", credentialstest.OnlyLoopback)
	_, otherKey := m.Issue("other", credentialstest.OnlyLoopback)
	expired, expiredKey := m.Issue("expired", x509.Certificate{NotAfter: time.Now().Add(-time.Hour)})
	early, earlyKey := m.Issue("early", x509.Certificate{NotBefore: time.Now().Add(time.Hour), NotAfter: time.Now().Add(2 * time.Hour)})
	none := filepath.Join(m.Dir, "none.pem")
	text := filepath.Join(m.Dir, "text.pem")
	require.NoError(t, os.WriteFile(text, []byte("no PEM\n"), 0o600))
	open, shared := filepath.Join(m.Dir, "open.key"), filepath.Join(m.Dir, "shared.key")
	data, err := os.ReadFile(key)
	require.NoError(t, err)
	for path, mode := range map[string]os.FileMode{open: 0o644, shared: 0o640} {
		require.NoError(t, os.WriteFile(path, data, 0o600))
		require.NoError(t, os.Chmod(path, mode))
	}

	for name, test := range map[string]struct {
		tls     credentials.TLS
		unixish bool     // where mode bits mean something
		want    []string // in the error; none: it is fine
	}{
		"nothing":                             {},
		"development":                         {tls: credentials.TLS{Mode: "development"}},
		"development with files":              {tls: credentials.TLS{CertFile: cert, KeyFile: key}},
		"development, expired":                {tls: credentials.TLS{CertFile: expired, KeyFile: expiredKey}},
		"development passes over the CA file": {tls: credentials.TLS{CAFile: none}},
		"production":                          {tls: credentials.TLS{Mode: "production", CertFile: cert, KeyFile: key, CAFile: m.CA}},
		"production, short":                   {tls: credentials.TLS{Mode: "prod", CertFile: cert, KeyFile: key}},
		"a key shared with a group":           {tls: credentials.TLS{CertFile: cert, KeyFile: shared}},

		"no such mode":              {tls: credentials.TLS{Mode: "strict"}, want: []string{`TLS mode "strict": write development or production`}},
		"production without files":  {tls: credentials.TLS{Mode: "production"}, want: []string{"needs a certificate", "--tls-cert (MACULA_TLS_CERTFILE)", "--tls-key (MACULA_TLS_KEYFILE)"}},
		"a certificate without key": {tls: credentials.TLS{CertFile: cert}, want: []string{cert, "set --tls-key (MACULA_TLS_KEYFILE) too"}},
		"a key without certificate": {tls: credentials.TLS{Mode: "production", KeyFile: key}, want: []string{key, "set --tls-cert (MACULA_TLS_CERTFILE) too"}},
		"no certificate file, no key file": {tls: credentials.TLS{CertFile: none, KeyFile: none + ".key"}, want: []string{
			"MACULA_TLS_CERTFILE) " + none + " can not be read: no such file", "MACULA_TLS_KEYFILE) " + none + ".key can not be read: no such file"}},
		"a directory":               {tls: credentials.TLS{CertFile: m.Dir, KeyFile: key}, want: []string{"MACULA_TLS_CERTFILE) " + m.Dir + " can not be read"}},
		"no PEM":                    {tls: credentials.TLS{CertFile: text, KeyFile: key}, want: []string{text, "want a certificate and its key, both in PEM"}},
		"a key for a certificate":   {tls: credentials.TLS{CertFile: key, KeyFile: key}, want: []string{key, "both in PEM"}},
		"another certificate's key": {tls: credentials.TLS{Mode: "production", CertFile: cert, KeyFile: otherKey}, want: []string{cert, otherKey, "does not match"}},
		"a key open to others":      {tls: credentials.TLS{CertFile: cert, KeyFile: open}, unixish: true, want: []string{"chmod 640 " + open, "0644"}},
		"production, expired":       {tls: credentials.TLS{Mode: "production", CertFile: expired, KeyFile: expiredKey}, want: []string{"MACULA_TLS_CERTFILE) " + expired + " expired at ", "renewed"}},
		"production, not yet valid": {tls: credentials.TLS{Mode: "production", CertFile: early, KeyFile: earlyKey}, want: []string{early + " is not valid before "}},
		"production, no CA file":    {tls: credentials.TLS{Mode: "production", CertFile: cert, KeyFile: key, CAFile: none}, want: []string{"--tls-ca (MACULA_TLS_CACERTFILE) " + none + " can not be read: no such file"}},
		"production, a CA file without certificates": {tls: credentials.TLS{Mode: "production", CertFile: cert, KeyFile: key, CAFile: key}, want: []string{
			"MACULA_TLS_CACERTFILE) " + key + " holds no certificate"}},
		"all that is wrong": {tls: credentials.TLS{Mode: "production", CAFile: text}, want: []string{"needs a certificate", text + " holds no certificate"}},
	} {
		t.Run(name, func(t *testing.T) {
			if test.unixish && runtime.GOOS == "windows" {
				t.Skip("no mode bits there")
			}
			_, err := test.tls.Load()
			if test.want == nil {
				require.NoError(t, err)
				return
			}
			for _, want := range test.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
}

func TestCertificateWarnings(t *testing.T) {
	m := credentialstest.NewMesh(t)
	cert, key := m.Issue("node", x509.Certificate{DNSNames: []string{"node.example.org"}})
	production := credentials.TLS{Mode: credentials.TLSProduction, CertFile: cert, KeyFile: key, CAFile: m.CA}
	for name, test := range map[string]struct {
		tls      credentials.TLS
		endpoint string
		want     string // in the log; none: nothing of the kind
	}{
		"its name":                  {tls: production, endpoint: "https://node.example.org:9443"},
		"another name":              {tls: production, endpoint: "https://other.example.org:9443", want: "does not name the host"},
		"no endpoint":               {tls: production},
		"a CA file in development":  {tls: credentials.TLS{CAFile: m.CA}, want: "CA file not used"},
		"development with any name": {endpoint: "https://node.example.org:9443"},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			c, err := test.tls.Load()
			require.NoError(t, err)
			_, err = c.Certificate(test.endpoint, "", slog.New(slog.NewTextHandler(&log, nil)))
			require.NoError(t, err)
			require.Contains(t, log.String(), `pin="sha256=`)
			if test.want == "" {
				require.NotContains(t, log.String(), "WARN")
			} else {
				require.Contains(t, log.String(), test.want)
			}
		})
	}
}
