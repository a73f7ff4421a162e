package identity

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A ClientID is 64 digits or, from 0.20.21 on, the 32 bytes that they stand for.
func TestFormsOfAClientID(t *testing.T) {
	sum, other := sha256.Sum256([]byte("key")), sha256.Sum256([]byte("another"))
	digits := hex.EncodeToString(sum[:])
	for name, c := range map[string]struct {
		nodeID      string
		is, matches bool
	}{
		"its digits":         {digits, true, true},
		"in capitals":        {strings.ToUpper(digits), true, true},
		"its bytes":          {string(sum[:]), true, true},
		"another's digits":   {hex.EncodeToString(other[:]), false, false},
		"32 other bytes":     {string(other[:]), false, true},
		"an operator's name": {"node-1", false, true},
		"none":               {"", false, true},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.is, IsClientID([]byte(c.nodeID), digits))
			require.Equal(t, c.matches, MatchesClientID([]byte(c.nodeID), digits))
			require.False(t, IsClientID([]byte(c.nodeID), ""))
		})
	}
}
