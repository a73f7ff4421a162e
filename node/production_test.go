package node

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/node/credentials"
	"github.com/macula-mesh/macula-node/node/credentials/credentialstest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
)

// Two nodes of one mesh in production verify each other; a stranger is refused.
func TestProduction(t *testing.T) {
	t.Parallel()
	m := credentialstest.NewMesh(t)
	cert, key := m.Issue("node", credentialstest.OnlyLoopback)
	production := credentials.TLS{Mode: credentials.TLSProduction, CertFile: cert, KeyFile: key, CAFile: m.CA}
	with := func(tls credentials.TLS) *Node { return startNode(t, func(c *Config) { c.TLS = tls }) }
	a, b, stranger := with(production), with(production), with(credentials.TLS{})
	ctx := patient(t)
	_, err := client.Ping(ctx, a.Dialer(), erlangContact(b))
	require.NoError(t, err)
	loaded, err := production.Load()
	require.NoError(t, err)
	require.NotNil(t, loaded.Dialling.Certificate, "shown to a node that asks, as an Erlang node does")
	loaded, err = credentials.TLS{}.Load()
	require.NoError(t, err)
	require.Nil(t, loaded.Dialling.Certificate)
	_, err = client.Ping(ctx, a.Dialer(), erlangContact(stranger))
	require.ErrorIs(t, err, identity.ErrCertificate)
	_, err = client.Ping(ctx, stranger.Dialer(), erlangContact(a))
	require.NoError(t, err, "development accepts any")
}
