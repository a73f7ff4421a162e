package backend

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/internal/access"
	"github.com/macula-mesh/macula-node/node/api/schema"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// A ban holds at once, closes connections, and is in the file where there is one.
func TestBan(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "deny")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	r := newRig(t, func(p *Parts) {
		var err error
		p.Lists, err = access.Open("", file)
		require.NoError(t, err)
	})
	next := r.listen(t)
	done, err := r.Ban("198.51.100.0/24")
	require.NoError(t, err)
	require.Equal(t, schema.Ban{Entry: "198.51.100.0/24", Changed: true, Kept: true, Closed: 2}, done)
	require.Equal(t, "198.51.100.0/24", next(schema.EventBan).Text)
	require.Equal(t, schema.Bans{File: file, Entries: []string{"198.51.100.0/24"}}, r.Bans())
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(text), "198.51.100.0/24")
	done, err = r.Ban("198.51.100.0/24")
	require.NoError(t, err)
	require.False(t, done.Changed)
	done, err = r.Unban("198.51.100.0/24")
	require.NoError(t, err)
	require.True(t, done.Changed)
	require.Equal(t, "198.51.100.0/24", next(schema.EventUnban).Text)
	require.Empty(t, r.Bans().Entries)
	for name, change := range map[string]func(string) (schema.Ban, error){"no entry": r.Ban, "not there": r.Unban} {
		_, err = change("nobody")
		require.ErrorIs(t, err, proto.ErrInvalidRequest, name)
	}
}

// Without a file it holds until the node ends, and says so; without lists nobody can be banned.
func TestBanWithoutAFile(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	done, err := r.Ban("198.51.100.7")
	require.NoError(t, err)
	require.False(t, done.Kept)
	require.NotEmpty(t, done.Why)
	none := newRig(t, func(p *Parts) { p.Lists = nil })
	_, err = none.Ban("198.51.100.7")
	require.ErrorIs(t, err, proto.ErrInvalidRequest)
	require.NotNil(t, none.Bans().Entries)
}
