package flags

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
	"github.com/macula-mesh/macula-node/node/api/door"
	"github.com/macula-mesh/macula-node/node/credentials"
)

// variable is an environment variable that gives a flag its value where the
// command line does not. Set to nothing it is not set.
type variable string

// Env makes an environment variable the source of a flag.
func Env(name string) cli.ValueSourceChain { return cli.NewValueSourceChain(variable(name)) }

func (v variable) Lookup() (string, bool) {
	value := os.Getenv(string(v))
	return value, value != ""
}

func (v variable) String() string   { return "$" + string(v) }
func (v variable) GoString() string { return fmt.Sprintf("variable(%q)", string(v)) }

// IsFromEnv and Key have the help name the variable.
func (v variable) IsFromEnv() bool { return true }
func (v variable) Key() string     { return string(v) }

var _ cli.EnvValueSource = variable("")

// FromEnv reports whether a list of entries is what a variable says, so that nobody
// has typed it.
func FromEnv(list []string, name string) bool {
	value, set := variable(name).Lookup()
	return set && slices.Equal(list, Trimmed(strings.Split(value, ",")))
}

// Trimmed returns the entries of a list that are not empty, without spaces
// around: a list in a variable may be broken into lines or end with a comma.
func Trimmed(list []string) []string {
	var entries []string
	for _, entry := range list {
		if entry = strings.TrimSpace(entry); entry != "" {
			entries = append(entries, entry)
		}
	}
	return entries
}

// quicPort has no flag's source: --listen on the command line goes before it,
// and --port does not go with --listen.
const quicPort variable = "MACULA_QUIC_PORT"

// Port names the UDP port to listen on.
func Port() cli.Flag {
	return &cli.StringFlag{Name: "port", Usage: fmt.Sprintf("UDP `PORT` to listen on (default: %d) [%s]", endpoints.DefaultPort, quicPort)}
}

// ListenPort returns the port to listen on, or 0 where --listen says it or
// nothing does.
func ListenPort(cmd *cli.Command) (uint16, error) {
	text, listen := cmd.String("port"), cmd.StringSlice("listen")
	switch {
	case text != "" && len(listen) > 0:
		return 0, Usagef("--port %s and --listen %s: write one of them, a listen address has its port in it", text, listen[0])
	case len(listen) > 0:
		return 0, nil
	case text == "":
		if text, _ = quicPort.Lookup(); text == "" {
			return 0, nil
		}
	}
	port, err := strconv.ParseUint(strings.TrimSpace(text), 10, 16)
	if err != nil || port == 0 {
		return 0, Usagef("--port (%s) %q: want 1 to 65535; for any free port write --listen /ip4/0.0.0.0/udp/0/quic-v1", string(quicPort), text)
	}
	return uint16(port), nil
}

// HealthPort names the TCP port on which probes of health are answered.
func HealthPort() cli.Flag {
	return &cli.StringFlag{Name: "health-port", Usage: "TCP `PORT`, or HOST:PORT, that answers /health, /ready, /live and /metrics over HTTP as an Erlang gateway does on 8080 (default: none)", Sources: Env("HEALTH_PORT")}
}

// HealthAddr returns where probes of health are answered, host:port, or nothing.
func HealthAddr(cmd *cli.Command) (string, error) {
	text := strings.TrimSpace(cmd.String("health-port"))
	if text == "" {
		return "", nil
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		host, port = "", text
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", Usagef("--health-port (HEALTH_PORT) %q: want a port, 1 to 65535, or HOST:PORT", text)
	}
	return net.JoinHostPort(host, port), nil
}

// defaultAPI is where the local API is reached unless something else is said.
const defaultAPI = "127.0.0.1:9480"

// API names where the local API is reached over TCP.
func API() cli.Flag {
	return &cli.StringFlag{Name: "api", Usage: "`HOST:PORT` at which the local API and the page are, beside the socket in the data directory, or off; another address than loopback wants the token in api.token there", Value: defaultAPI, Sources: Env("MACULA_API")}
}

// APIAddr returns where the local API is reached over TCP, nothing for nowhere, and whether
// the node may do without, as nobody has asked for it.
func APIAddr(cmd *cli.Command) (addr string, spare bool, err error) {
	text := strings.TrimSpace(cmd.String("api"))
	if text == "off" {
		return "", true, nil
	}
	if _, err := door.ParseAddress(text); err != nil {
		return "", false, Usagef("--api (MACULA_API): %w; or write off", err)
	}
	return text, !cmd.IsSet("api"), nil
}

// TLS are the flags that say which certificates are accepted from Erlang nodes.
func TLS(more ...cli.Flag) []cli.Flag {
	return append(more,
		&cli.StringFlag{Name: "tls-mode", Usage: "`MODE` towards Erlang nodes: development accepts any certificate, production verifies it", Value: string(credentials.TLSDevelopment), Sources: Env("MACULA_TLS_MODE")},
		&cli.StringFlag{Name: "tls-ca", Usage: "`FILE` of the CA certificates that production trusts, in PEM (default: the system's)", Sources: Env("MACULA_TLS_CACERTFILE")},
		&cli.StringFlag{Name: "tls-verify-hostname", Usage: "whether production verifies the host name, or the chain alone: `BOOL` is true or false", Value: "true", Sources: Env("MACULA_TLS_VERIFY_HOSTNAME")},
	)
}

// TLSPolicy returns what the flags say, of those that the command has.
func TLSPolicy(cmd *cli.Command) (credentials.TLS, error) {
	mode, err := credentials.ParseTLSMode(cmd.String("tls-mode"))
	if err != nil {
		return credentials.TLS{}, Usagef("--tls-mode (MACULA_TLS_MODE): %w", err)
	}
	verify, err := strconv.ParseBool(cmd.String("tls-verify-hostname"))
	if err != nil {
		return credentials.TLS{}, Usagef("--tls-verify-hostname (MACULA_TLS_VERIFY_HOSTNAME) %q: write true or false", cmd.String("tls-verify-hostname"))
	}
	return credentials.TLS{
		Mode:     mode,
		CertFile: cmd.String("tls-cert"),
		KeyFile:  cmd.String("tls-key"),
		CAFile:   cmd.String("tls-ca"),
		AnyHost:  !verify,
	}, nil
}
