package layers

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "github.com/macula-mesh/macula-node/"

// floors are the packages of the product from the ground up. A package imports
// packages of lower floors only: those of one floor do not know each other. Who
// adds a package gives it its place here.
var floors = [][]string{
	{"compat/wire/msgpack", "protocols/pubsub/internal/trie", "protocols/pubsub/internal/recent"},
	{"protocols/pubsub/internal/names", "compat/wire/internal/fields", "internal/logs/early", "internal/access", "internal/memory", "internal/wrap"},
	{"compat/wire", "compat/wire/endpoints", "internal/buckets", "internal/budget", "internal/datadir", "internal/logs"},
	{"compat/wire/framing", "compat/wire/procedures", "compat/wire/values", "internal/fair"},
	{"protocols/maculadht/proto", "protocols/maculadht/state", "protocols/maculadht/records/internal/residents"},
	{"protocols/maculadht/records", "protocols/maculadht/server/outbox",
		"protocols/maculadht/records/pebble/internal/notice", "protocols/maculadht/records/pebble/internal/disk",
		"protocols/maculadht/records/pebble/internal/fence"},
	{"protocols/maculadht/records/pebble/internal/entries", "protocols/maculadht/records/pebble/internal/label"},
	{"protocols/maculadht/records/pebble/internal/journal"},
	{"protocols/maculadht/records/pebble/internal/database"},
	{"protocols/maculadht/records/pebble/internal/room"},
	{"protocols/maculadht/records/merge", "protocols/maculadht/routing/addressing", "protocols/maculadht/routing/diversity", "protocols/maculadht/server", "protocols/maculadht/records/pebble"},
	{"protocols/maculadht/routing", "internal/conns", "internal/dials"},
	{"protocols/maculadht/routing/density", "protocols/maculadht/routing/lookup/negative", "protocols/maculadht/routing/lookup/found", "protocols/maculadht/records/signed"},
	{"protocols/maculadht/routing/lookup", "protocols/maculadht/dht/offer"},
	{"protocols/maculadht/routing/upkeep"},
	{"protocols/maculadht/dht", "protocols/maculadht/client"},
	{"protocols/maculadht/replication", "protocols/maculadht/resolver", "protocols/maculadht/provider",
		"protocols/maculadht/internal/admission", "protocols/maculadht/internal/router", "protocols/maculadht/bootstrap"},
	{"protocols/maculadht/publication"},
	{"protocols/maculadht"},
	{"protocols/internal/announce", "protocols/pubsub/internal/backlog", "protocols/pubsub/internal/interest", "protocols/rpc/internal/locator",
		"protocols/rpc/internal/payload", "protocols/rpc/internal/registry", "protocols/rpc/internal/harmless"},
	{"protocols/rpc/internal/outcome"},
	{"protocols/pubsub", "protocols/rpc"},
	{"protocols/rpc/diagnostics", "protocols/watch"},
	{"compat/dialer/identity", "compat/dialer/pace", "compat/dialer/safety"},
	{"compat/dialer"},
	{"compat/gateway", "compat/uplink", "compat/doctor"},
	{"node/credentials", "node/internal/quicaddr", "node/limits"},
	{"node/backup", "node/internal/peerhost"},
	{"node/api/schema", "node/api/door", "internal/health"},
	{"node/api", "node/api/client", "node/api/page", "node/internal/backend", "node/internal/problems", "node/internal/metrics"},
	{"node/internal/presence"},
	{"node"},
	{"cmd/macula-node/internal/flags", "cmd/macula-node/internal/terminal", "cmd/macula-node/internal/runner", "cmd/macula-node/internal/observe", "cmd/macula-node/internal/tomlfile", "cmd/macula-node/internal/supervised"},
	{"cmd/macula-node/internal/settings"},
	{"cmd/macula-node/internal/local"},
	{"cmd/macula-node/internal/ask", "cmd/macula-node/internal/view", "cmd/macula-node/internal/inspect", "cmd/macula-node/internal/configure"},
	{"cmd/macula-node"},
}

// testOnly are for tests, so no package of the product imports them.
func testOnly(path string) bool {
	return strings.HasPrefix(path, "interop") || strings.HasSuffix(path, "test") || slices.Contains([]string{"compat", "docs", "internal/layers"}, path)
}

// maxLines is how many lines of code a package has at most, without its tests, comments
// and empty lines: what a newcomer reads in an afternoon.
const maxLines = 1500

// goPackage is what go list says of a package of the product.
type goPackage struct {
	path             string // below the module's
	ImportPath, Dir  string
	GoFiles, Imports []string
}

// product returns the packages that are not for tests alone.
func product(t *testing.T) (packages []goPackage) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,Imports", module+"...").Output()
	require.NoError(t, err)
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := dec.Decode(&p); err == io.EOF {
			require.Greater(t, len(packages), len(floors))
			return packages
		} else {
			require.NoError(t, err)
		}
		if p.path = strings.TrimPrefix(p.ImportPath, module); !testOnly(p.path) {
			packages = append(packages, p)
		}
	}
}

func TestPackagesAreShort(t *testing.T) {
	for _, p := range product(t) {
		lines := 0
		for _, name := range p.GoFiles {
			text, err := os.ReadFile(filepath.Join(p.Dir, name))
			require.NoError(t, err)
			for line := range bytes.Lines(text) {
				line = bytes.TrimSpace(line)
				if len(line) > 0 && !bytes.HasPrefix(line, []byte("//")) {
					lines++
				}
			}
		}
		assert.LessOrEqual(t, lines, maxLines, "package %s has %d lines of code without its tests, and %d is the most: part it into rooms of their own", p.path, lines, maxLines)
	}
}

func TestImportsRunOneWay(t *testing.T) {
	floorOf := make(map[string]int)
	for floor, paths := range floors {
		for _, path := range paths {
			floorOf[path] = floor
		}
	}
	seen := make(map[string]bool)
	for _, p := range product(t) {
		floor, placed := floorOf[p.path]
		require.True(t, placed, "package %s has no place in this test's floors", p.path)
		seen[p.path] = true
		for _, imported := range p.Imports {
			below, ours := strings.CutPrefix(imported, module)
			if !ours {
				continue
			}
			require.False(t, testOnly(below), "%s imports %s, which is for tests", p.path, below)
			require.Less(t, floorOf[below], floor, "%s imports %s, which does not lie below it", p.path, below)
		}
	}
	for _, path := range slices.Concat(floors...) {
		require.True(t, seen[path], "package %s has a place in this test's floors and is not there", path)
	}
}
