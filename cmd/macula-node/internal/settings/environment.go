package settings

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/flags"
)

// serviceLink are the variables that Kubernetes and Docker set for a service that is called
// macula: nobody has written them.
var serviceLink = regexp.MustCompile(`_SERVICE_(HOST|PORT)(_|$)|_PORT(_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)?$`)

// UnknownVariables returns what to say of each environment variable that looks like one of
// ours, and is none.
func UnknownVariables() (said []string) {
	known := Variables()
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, "MACULA_") || slices.Contains(known, name) || serviceLink.MatchString(name) {
			continue
		}
		text := fmt.Sprintf("the variable %s means nothing to this program", name)
		if near := flags.Nearest(name, known); near != "" {
			text += ": did you mean " + near + "?"
		}
		said = append(said, text)
	}
	slices.Sort(said)
	return said
}

// Variables returns the environment variables that mean something to the program.
func Variables() []string {
	names := []string{Variable}
	for _, s := range Table() {
		names = append(names, s.Variable)
	}
	return names
}
