package access

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBan(t *testing.T) {
	ip := netip.MustParseAddr("192.0.2.7")
	t.Run("without a file", func(t *testing.T) {
		l, err := Open("", "")
		require.NoError(t, err)
		b, err := l.Ban(" ::ffff:192.0.2.7 ")
		require.NoError(t, err)
		require.Equal(t, "192.0.2.7", b.Entry)
		require.True(t, b.Changed)
		require.ErrorIs(t, b.Unkept, ErrNoFile)
		require.Equal(t, Denied, l.Check("", ip))
		require.NoError(t, l.Reload())
		require.Equal(t, Denied, l.Check("", ip), "it outlives a Reload")
		b, err = l.Ban("192.0.2.7")
		require.NoError(t, err)
		require.False(t, b.Changed)
		b, err = l.Unban("192.0.2.7")
		require.NoError(t, err)
		require.True(t, b.Changed)
		require.Equal(t, LetIn, l.Check("", ip))
		_, err = l.Unban("192.0.2.7")
		require.ErrorIs(t, err, ErrNotListed)
		for _, wrong := range []string{"", "nobody", "192.0.2.7/24", "192.0.2.7\n10.0.0.1"} {
			_, err = l.Ban(wrong)
			var entry *EntryError
			require.ErrorAs(t, err, &entry, wrong)
		}
	})
	t.Run("with a file", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "deny")
		require.NoError(t, os.WriteFile(file, []byte("# ours\n10.0.0.0/8 # far"), 0o640))
		l, err := Open("", file)
		require.NoError(t, err)
		b, err := l.Ban("192.0.2.0/24")
		require.NoError(t, err)
		require.NoError(t, b.Unkept)
		require.Equal(t, []string{"10.0.0.0/8", "192.0.2.0/24"}, l.Denied())
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, "# ours\n10.0.0.0/8 # far\n192.0.2.0/24\n", string(text))
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o640), info.Mode().Perm())
		_, err = l.Unban("10.0.0.0/8")
		require.NoError(t, err)
		text, err = os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, "# ours\n192.0.2.0/24\n", string(text))
		again, err := Open("", file)
		require.NoError(t, err)
		require.Equal(t, Denied, again.Check("", ip), "it is kept")

		require.NoError(t, os.WriteFile(file, []byte("nonsense"), 0o640))
		_, err = l.Ban("10.1.2.3")
		require.ErrorContains(t, err, "nonsense")
		require.Equal(t, Denied, l.Check("", ip), "those of before stay")
		require.NoError(t, os.Remove(file))
		_, err = l.Ban("10.1.2.3")
		require.Error(t, err)
	})
}
