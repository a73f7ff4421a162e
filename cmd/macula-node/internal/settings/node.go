package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/flags"
	"github.com/macula-mesh/macula-node/node"
	"github.com/macula-mesh/macula-node/node/credentials"
)

// Node returns the configuration of a node, of a version of the program.
func (e *Effective) Node(version string) (node.Config, error) {
	c := e.Config
	limits := c.Streams
	limits.Accounts = c.accounts()
	health, err := healthAddr(c.HealthPort)
	if err != nil {
		return node.Config{}, flags.Usage(e.Of("health-port").wrong(err))
	}
	n := node.Config{
		Listen:        c.Listen,
		Port:          uint16(c.Port),
		Announce:      c.Announce,
		Hostname:      c.Hostname,
		NoPortMapping: !c.PortMapping,

		Realm:     c.Realm,
		Bootstrap: c.Bootstrap,
		Mode:      node.Mode(c.Mode),

		Allow:        c.Allow,
		Deny:         c.Deny,
		Strict:       c.Strict,
		GroupPrivate: c.GroupPrivate,
		SwarmKey:     c.SwarmKey,

		TLS:     c.tls(),
		DataDir: c.DataDir,
		Version: version,
		Health:  health,

		Durable: !c.Ephemeral,
		Records: c.Records,

		Limits:    &limits,
		Parts:     &c.Parts,
		Conns:     c.Conn.Limits,
		ConnsLow:  c.Conn.Low,
		ConnsHigh: c.Conn.High,
	}
	n.Records.Bytes = c.Store.Memory
	for key, field := range map[string]*int{ // which give way where the other of two is set
		"conn.low": &n.ConnsLow, "conn.high": &n.ConnsHigh,
		"records.providers-per-source": &n.Records.ProvidersPerSource, "records.providers-per-group": &n.Records.ProvidersPerGroup,
	} {
		if e.Of(key).Source == FromDefault {
			*field = 0
		}
	}
	if n.Durable {
		n.DiskBytes = c.Store.Disk
	}
	if api := strings.TrimSpace(c.API); api != off {
		n.API, n.APISpare = api, e.Of("api").Source == FromDefault
	}
	return n, nil
}

func (c Config) tls() credentials.TLS {
	mode, _ := credentials.ParseTLSMode(c.TLS.Mode) // which was checked
	return credentials.TLS{Mode: mode, CertFile: c.TLS.Cert, KeyFile: c.TLS.Key, CAFile: c.TLS.CA, AnyHost: !c.TLS.VerifyHostname}
}

// TLSPolicy returns what the flags of a command say that was resolved.
func TLSPolicy(cmd *cli.Command) credentials.TLS { return Of(cmd).Config.tls() }

// keysOf are the settings that a field of node.Config comes from.
var keysOf = map[string]string{
	"Realm": "realm", "Hostname": "hostname", "Bootstrap": "bootstrap", "Listen": "listen", "Announce": "announce", "Mode": "mode",
	"SwarmKey": "swarm-key", "Allow": "allow", "Deny": "deny", "ConnsLow": "conn.low",
}

// sectionsOf are the sections of the file that a field of node.Config comes from.
var sectionsOf = map[string]string{
	"Conns": "conn", "Records": "records", "Limits": "streams", "Limits.Accounts": "accounts", "Parts.Client": "client", "Parts.Dialer": "dialer",
	"Parts.Gateway": "gateway", "Parts.Resolver": "resolver", "Parts.Adopter": "adopter", "Parts.Diversity": "diversity", "Parts.Topics": "topics",
	"Parts.Calls": "calls", "Parts.Watches": "watches",
}

// Named has an error of a node's configuration name the settings that are to be written
// otherwise, each with where it is written.
func (e *Effective) Named(err error) error {
	if several, is := err.(interface{ Unwrap() []error }); is {
		var named []error
		for _, err := range several.Unwrap() {
			named = append(named, e.Named(err))
		}
		return errors.Join(named...)
	}
	if wrong, is := err.(*node.ConfigError); is {
		if key := keysOf[wrong.Field]; key != "" {
			return fmt.Errorf("%s: %w", e.Of(key).name(), err)
		}
		if section := sectionsOf[wrong.Field]; section != "" {
			return fmt.Errorf("[%s] (--%s-…): %w", section, section, err)
		}
		return err
	}
	inner := errors.Unwrap(err)
	if wrong, is := errors.AsType[*node.ConfigError](err); is && inner != nil && wrong != err {
		return e.Named(inner) // without the words around it, that it is of the configuration
	}
	return err
}

// DataDir returns the data directory that a command names.
func DataDir(cmd *cli.Command) (string, error) {
	switch v := Of(cmd).Of("data-dir"); {
	case len(v.Texts) == 0 && v.Source == FromDefault:
		return "", flags.Usagef("there is no home directory (HOME is not set) to keep the node's identity key in: set --data-dir (MACULA_DATA_DIR)")
	case len(v.Texts) == 0:
		return "", flags.Usagef("%s is empty: write the directory of the node's identity key", v.name())
	case v.Source == FromDefault:
		home := filepath.Dir(v.Texts[0])
		if _, err := os.Stat(home); errors.Is(err, fs.ErrNotExist) {
			return "", flags.Usagef("the home directory %s (HOME) does not exist, to keep the node's identity key in: make it, or set --data-dir (MACULA_DATA_DIR)", home)
		}
		return v.Texts[0], nil
	default:
		return v.Texts[0], nil
	}
}
