package signed

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain fails the tests of this package if a goroutine outlives them.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
