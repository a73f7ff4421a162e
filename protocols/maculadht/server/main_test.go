package server

import (
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// TestMain fails the tests of this package if a goroutine outlives them.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// erlangID returns a node id of a length that Erlang nodes survive.
func erlangID(name string) string { return name + strings.Repeat("-", 64-len(name)) }
