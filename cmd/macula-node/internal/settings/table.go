package settings

import (
	"math"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/flags"
	"github.com/macula-mesh/macula-node/internal/conns"
)

// Variable is the environment variable that names the configuration file.
const Variable = "MACULA_CONFIG"

// Table returns all settings, in the order in which they are shown; those that are in no
// section of the file come first.
func Table() []*Setting {
	table := slices.Clone(rows().all)
	table[0] = dataDir(table[0])
	return table
}

// Lookup returns the setting of a key, nil where there is none.
func Lookup(key string) *Setting {
	s := rows().byKey[key]
	if s != nil && s.field == "DataDir" {
		return dataDir(s)
	}
	return s
}

// dataDir is the setting of that name with its default, which is the user's.
func dataDir(s *Setting) *Setting {
	own := *s
	if dir := defaultDataDir(); dir != "" {
		own.Default = []string{dir}
	}
	return &own
}

// rows are the settings, but for the default of the first, the data directory. They are put
// together once, and never change.
var rows = sync.OnceValue(func() (r struct {
	all   []*Setting
	byKey map[string]*Setting
}) {
	c := defaults()
	c.DataDir = ""
	r.byKey = make(map[string]*Setting)
	add := func(rows []Setting, limit bool) {
		for _, s := range rows {
			s.Limit = limit
			s.complete(&c)
			r.all = append(r.all, &s)
			r.byKey[s.Key] = &s
		}
	}
	add(basicRows(), false)
	add(limitRows(), true)
	return r
})

// complete has a row of the table say what it does not.
func (s *Setting) complete(c *Config) {
	if s.Key == "" {
		section, name, in := strings.Cut(s.field, ".")
		s.Key = kebab(section)
		if in {
			s.Key += "." + kebab(name)
		}
	}
	s.Flag = strings.ReplaceAll(s.Key, ".", "-")
	if s.Variable == "" {
		s.Variable = "MACULA_" + strings.ToUpper(strings.ReplaceAll(s.Flag, "-", "_"))
	}
	if s.Kind == "" {
		switch s.in(c).Interface().(type) {
		case []string:
			s.Kind = List
		case bool:
			s.Kind = Bool
		case time.Duration:
			s.Kind = Duration
		case int, int64:
			s.Kind = Count
		case string:
			s.Kind = Text
		default:
			s.Kind = Rate
		}
	}
	if s.most == 0 {
		s.most = map[Kind]int64{Size: maxSize, Count: math.MaxInt32, Duration: math.MaxInt64}[s.Kind]
	}
	switch {
	case s.least == 0:
		s.least = 1
	case s.least < 0:
		s.least = 0
	}
	s.Default = s.text(c)
}

// none has 0 be the least of a number.
const none = -1

// kebab writes the name of a Go field as it is in the file: VerifyHostname is
// verify-hostname, and OTLPEndpoint otlp-endpoint.
func kebab(name string) string {
	runes := []rune(strings.ReplaceAll(name, ".", ""))
	var text strings.Builder
	for i, r := range runes {
		if unicode.IsUpper(r) && i > 0 && (unicode.IsLower(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			text.WriteByte('-')
		}
		text.WriteRune(unicode.ToLower(r))
	}
	return text.String()
}

// basicRows are what a node does, and where.
func basicRows() []Setting {
	return []Setting{
		{field: "DataDir", Kind: Path, Usage: "`DIR` of a node's identity key, TLS certificate and records, made at its first start; one node runs on it at a time"},
		{field: "Ephemeral", Usage: "keep records in memory only, so that they are gone at the end"},

		{field: "Listen", Usage: "`MULTIADDR` to listen on, repeatable", Otherwise: "--port of all IPv4 and IPv6 addresses"},
		{field: "Port", Variable: "MACULA_QUIC_PORT", Usage: "UDP `PORT` to listen on", most: math.MaxUint16, check: checkPort},
		{field: "Announce", Usage: "`MULTIADDR` by which others reach this node that it can not see itself, of a container's host or a forwarded port; repeatable", Otherwise: "what it finds out"},
		{field: "Hostname", Usage: "`NAME` that Erlang nodes are told to reach this node by", Otherwise: "the first address of --announce, else a reachable public address, else one of an interface"},
		{field: "PortMapping", Usage: "ask the router (UPnP, NAT-PMP) to forward the port, unless it is listened on loopback alone; --port-mapping=false for not at all"},

		{field: "Realm", Usage: "`NAME` of the realm to serve"},
		{field: "Name", Variable: "NODE_NAME", Usage: "`NAME` of this node in its logs and in what run prints; its id comes from its key"},
		{field: "Bootstrap", Variable: "MACULA_BOOTSTRAP_PEERS", Usage: "`ADDR` to connect to, a multiaddr with /p2p or https://HOST:PORT of an Erlang gateway; repeatable, or with commas between"},
		{field: "Mode", Usage: "`MODE` towards libp2p peers: auto, server or client", check: checkMode},

		{field: "Allow", Kind: Path, Usage: "`FILE` of those who may come, a peer id or an address range a line: where it has entries nobody else may. SIGHUP has it read again"},
		{field: "Deny", Kind: Path, Usage: "`FILE` of those who may not come, in the same form; it goes before --allow"},
		{field: "Strict", Usage: "answer nobody who has not CONNECTed in the realm"},
		{field: "GroupPrivate", Usage: "count private addresses and loopback in IP groups, of which only a few have a place, as public ones are: where nodes of others are in the same private network, or come through a proxy"},
		{field: "SwarmKey", Kind: Path, Usage: "`FILE` of a libp2p private network: refused, as QUIC can not be in one; use --allow and --strict"},

		{field: "API", Usage: "`HOST:PORT` at which the local API and the page are, beside the socket in the data directory, or off; another address than loopback wants the token in api.token there", check: checkAPI},
		{field: "HealthPort", Variable: "HEALTH_PORT", number: true, Usage: "TCP `PORT`, or HOST:PORT, that answers /health, /ready, /live and /metrics over HTTP as an Erlang gateway does on 8080", check: checkHealth},
		{field: "OTLPEndpoint", Variable: "OTEL_EXPORTER_OTLP_ENDPOINT", endpoint: true, Usage: "`URL` of an OpenTelemetry collector, http://HOST:PORT, that traces of lookups are sent to by OTLP over HTTP"},
		{field: "Pprof", Usage: "`IP:PORT` of loopback that serves Go's profiles at /debug/pprof/"},

		{field: "TLS.Mode", Usage: "`MODE` towards Erlang nodes: development accepts any certificate, production verifies it", check: checkTLSMode},
		{field: "TLS.Cert", Kind: Path, Variable: "MACULA_TLS_CERTFILE", Usage: "`FILE` of the certificate that Erlang nodes are shown, with its chain, in PEM", Otherwise: "a self-signed one, kept in the data directory"},
		{field: "TLS.Key", Kind: Path, Variable: "MACULA_TLS_KEYFILE", Usage: "`FILE` of the certificate's key, in PEM"},
		{field: "TLS.CA", Kind: Path, Variable: "MACULA_TLS_CACERTFILE", Usage: "`FILE` of the CA certificates that production trusts, in PEM", Otherwise: "the system's"},
		{field: "TLS.VerifyHostname", word: true, Usage: "whether production verifies the host name, or the chain alone: `BOOL` is true or false"},

		{field: "Log.Level", Variable: "GOLOG_LOG_LEVEL", Usage: "`LEVEL` of what is logged to standard error, libp2p's logs too: debug, info, warn or error, and SUBSYSTEM=LEVEL for some, with commas between", check: flags.CheckLevels},
		{field: "Log.Format", Variable: "GOLOG_LOG_FMT", Usage: "`FORMAT` of the log: text or json", check: flags.CheckFormat},

		{field: "Store.Memory", Kind: Size, least: 1 << 20, Usage: "`SIZE` that all records may have in memory, such as 64MiB or a number of bytes; over it those give way who store most"},
		{field: "Store.Disk", Kind: Size, least: 32 << 20, Usage: "`SIZE` that the files of the records may have in the data directory"},
		{field: "Conn.Memory", Kind: Size, least: conns.MinMemory, Usage: "`SIZE` that all connections may cost in memory, 96 KiB each and 16 KiB for each stream; above it those of the network that has most are closed"},
	}
}
