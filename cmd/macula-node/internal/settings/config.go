package settings

import (
	"os"
	"path/filepath"

	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
	"github.com/macula-mesh/macula-node/internal/budget"
	"github.com/macula-mesh/macula-node/internal/conns"
	"github.com/macula-mesh/macula-node/internal/logs"
	"github.com/macula-mesh/macula-node/node"
	"github.com/macula-mesh/macula-node/node/credentials"
	"github.com/macula-mesh/macula-node/node/limits"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// Config is what the settings say. Each field is one, by the table.
type Config struct {
	DataDir   string
	Ephemeral bool

	Listen      []string
	Port        int
	Announce    []string
	Hostname    string
	PortMapping bool

	Realm     string
	Name      string
	Bootstrap []string
	Mode      string

	Allow, Deny, SwarmKey string
	Strict                bool
	GroupPrivate          bool

	API          string
	HealthPort   string
	OTLPEndpoint string
	Pprof        string

	TLS struct {
		Mode, Cert, Key, CA string
		VerifyHostname      bool
	}
	Log   struct{ Level, Format string }
	Store struct{ Memory, Disk int64 } // bytes
	Conn  struct {
		conns.Limits
		Low, High int
	}

	Records  records.Limits
	Accounts budget.Limits
	Streams  server.Limits
	limits.Parts
}

// defaults are for a machine of 512 MiB: with what peers have buffered, connections (1,365)
// and the program, 128 MiB of records have a process of 416 MiB. Files are rewritten as they
// are merged, for which there is room for the same records four times. What is 0 is worked
// out from the others.
func defaults() Config {
	c := Config{
		DataDir:     defaultDataDir(),
		Port:        endpoints.DefaultPort,
		PortMapping: true,
		Realm:       proto.DefaultRealm,
		Mode:        string(node.ModeAuto),
		API:         "127.0.0.1:9480",
		Accounts:    budget.DefaultLimits(),
		Streams:     server.DefaultLimits(),
		Parts:       limits.Defaults(),
	}
	c.TLS.Mode, c.TLS.VerifyHostname = string(credentials.TLSDevelopment), true
	// of libp2p, whose libraries tell at info what only their developers want to, the errors
	c.Log.Level, c.Log.Format = "error,"+logs.Prefix+"*=info", "text"
	c.Store.Memory, c.Store.Disk = 128<<20, 512<<20
	c.Conn.Limits = conns.DefaultLimits()
	c.Conn.Memory, c.Conn.Buffered = 128<<20, 0
	c.Conn.Low, c.Conn.High = node.DefaultConnsLow, node.DefaultConnsHigh
	c.Records.ProvidersPerSource, c.Records.ProvidersPerGroup = records.DefaultProvidersPerSource, records.DefaultProvidersPerGroup
	c.Accounts.TotalMemory, c.Accounts.Group.Memory, c.Accounts.Source.Memory = 0, 0, 0
	return c
}

// defaultDataDir returns nothing where the user has no home.
func defaultDataDir() string {
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".macula-node")
}

// leastBuffers is what peers may have buffered in any case, unless it is set.
const leastBuffers = 64 << 20

// accounts returns what peers may use, with what is not set worked out.
func (c Config) accounts() budget.Limits {
	a, d := c.Accounts, budget.DefaultLimits()
	if a.TotalMemory == 0 {
		a.TotalMemory = min(d.TotalMemory, max(leastBuffers, c.Store.Memory/2))
	}
	if a.Source.Memory == 0 {
		a.Source.Memory = max(min(d.Source.Memory, a.TotalMemory/4), budget.MinMemory)
	}
	if a.Group.Memory == 0 {
		a.Group.Memory = max(min(d.Group.Memory, a.TotalMemory/2), a.Source.Memory)
	}
	return a
}
