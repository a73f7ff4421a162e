package page_test

import (
	"encoding/json"
	"testing"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/stretchr/testify/require"
)

// namesOf is what a screen reader is told: "role name" of each node.
func namesOf(t *testing.T, b *tab) (names []string) {
	t.Helper()
	for _, n := range send(b, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{}).Nodes {
		if n.Ignored {
			continue
		}
		name := stringOf(t, n.Role)
		if text := stringOf(t, n.Name); text != "" {
			name += " " + text
		}
		names = append(names, name)
	}
	return names
}

func stringOf(t *testing.T, v *accessibility.Value) (text string) {
	if v == nil || len(v.Value) == 0 {
		return ""
	}
	require.NoError(t, json.Unmarshal(v.Value, &text))
	return text
}
