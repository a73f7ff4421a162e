package pebble

import (
	"context"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/disk"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/label"
)

// snapshot returns the files of a directory with their content.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		files[path] = string(content)
		return err
	}))
	return files
}

// filled makes a store with records in tables and in its log, and returns its directory.
func filled(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	s := open(t, dir)
	rng := rand.New(rand.NewPCG(1, 1))
	value := make([]byte, 50_000)
	for i := range 150 {
		for j := range value {
			value[j] = byte(rng.Uint32())
		}
		d := records.Soon
		if i%10 == 9 {
			d = records.Synced
		}
		require.NoError(t, set(s, string(rune('a'+i)), d, rec(string(value), time.Hour)))
	}
	require.NoError(t, s.Close())
	return dir
}

func rewriteFile(t *testing.T, path string, edit func(text string) string) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, []byte(edit(string(text))), disk.FileMode))
}

// newest returns the last of a directory's files with a suffix, which is not empty.
func newest(t *testing.T, dir, pattern string) string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, pattern))
	require.NoError(t, err)
	for i := len(paths) - 1; i >= 0; i-- {
		if info, err := os.Stat(paths[i]); err == nil && info.Size() > 100_000 {
			return paths[i]
		}
	}
	t.Fatalf("no %s in %s", pattern, dir)
	return ""
}

func flip(t *testing.T, path string) {
	t.Helper()
	rewriteFile(t, path, func(text string) string {
		b := []byte(text)
		b[40_000] ^= 4 // a log that was used before is longer than what is in it
		return string(b)
	})
}

// What can not be opened is refused with what is where and what to do, and stays as it
// was.
func TestRefusedDirectories(t *testing.T) {
	tests := map[string]struct {
		change func(t *testing.T, dir string)
		owner  Owner
		want   error
		says   string
	}{
		"of another realm": {func(*testing.T, string) {}, Owner{Realm: "other", NodeID: us.NodeID}, ErrForeign, `is of the realm "test", this node of "other"`},
		"of another node":  {func(*testing.T, string) {}, Owner{Realm: us.Realm, NodeID: []byte{1}}, ErrForeign, "this one is 01; use the key"},
		"of a newer format": {func(t *testing.T, dir string) {
			rewriteFile(t, filepath.Join(dir, label.File), func(s string) string { return strings.Replace(s, `"format":1`, `"format":2`, 1) })
		}, us, ErrNewer, "is of format 2, this program knows 1"},
		"of no format": {func(t *testing.T, dir string) {
			rewriteFile(t, filepath.Join(dir, label.File), func(s string) string { return "{}" })
		}, us, ErrCorrupt, "format 0"},
		"unreadable label": {func(t *testing.T, dir string) {
			rewriteFile(t, filepath.Join(dir, label.File), func(s string) string { return s[:20] })
		}, us, ErrCorrupt, label.File},
		"something else":     {func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, label.File))) }, us, ErrForeign, "and no " + label.File},
		"a table is damaged": {func(t *testing.T, dir string) { flip(t, newest(t, dir, "*.sst")) }, us, ErrCorrupt, "put a backup in its place"},
		"a table is missing": {func(t *testing.T, dir string) { require.NoError(t, os.Remove(newest(t, dir, "*.sst"))) }, us, ErrCorrupt, "(type sstable)"},
		"the log is damaged": {func(t *testing.T, dir string) { flip(t, newest(t, dir, "*.log")) }, us, ErrCorrupt, "put a backup in its place"},
		"the manifest is gone": {func(t *testing.T, dir string) {
			all, _ := filepath.Glob(filepath.Join(dir, "MANIFEST-*"))
			for _, path := range all {
				require.NoError(t, os.Remove(path))
			}
		}, us, ErrCorrupt, "MANIFEST"},
		"all of Pebble's files are gone": {func(t *testing.T, dir string) {
			all, _ := filepath.Glob(filepath.Join(dir, "*"))
			for _, path := range all {
				if filepath.Base(path) != label.File {
					require.NoError(t, os.Remove(path))
				}
			}
		}, us, ErrCorrupt, "write-ahead log is missing"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := filled(t)
			test.change(t, dir)
			before := snapshot(t, dir)
			_, err := Open(dir, test.owner)
			require.ErrorIs(t, err, test.want)
			require.ErrorContains(t, err, dir)
			require.ErrorContains(t, err, test.says)
			after := snapshot(t, dir)
			for path, content := range before {
				if ext := filepath.Ext(path); ext == ".sst" || ext == ".json" || test.want != ErrCorrupt {
					require.True(t, content == after[path], "%s has changed", path)
				}
			}
		})
	}
	t.Run("somebody's files", func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "letter"), []byte("dear"), disk.FileMode))
		before := snapshot(t, dir)
		_, err := Open(dir, us)
		require.ErrorIs(t, err, ErrForeign)
		require.ErrorContains(t, err, "letter")
		require.Equal(t, before, snapshot(t, dir))
	})
	t.Run("a file", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(file, []byte("dear"), disk.FileMode))
		_, err := Open(file, us)
		require.ErrorContains(t, err, file)
	})
	t.Run("open already", func(t *testing.T) {
		dir := t.TempDir()
		s := open(t, dir)
		_, err := Open(dir, us)
		require.ErrorIs(t, err, ErrLocked)
		require.ErrorContains(t, err, dir)
		require.NoError(t, set(s, "k", records.Synced, rec("v", time.Hour)))
	})
}

func TestBadOptions(t *testing.T) {
	for name, opt := range map[string]Option{
		"nil": nil, "no logger": WithLogger(nil), "no tracer": WithMetricsTracer(nil), "no file system": WithFS(nil),
		"too few bytes": WithMaxBytes(minBytes - 1), "negative reserve": WithReserve(-1),
	} {
		_, err := Open(t.TempDir(), us, opt)
		require.Error(t, err, name)
	}
}

// Whatever the umask, nobody else reads what is stored.
func TestPrivateFiles(t *testing.T) {
	before := syscall.Umask(0)
	defer syscall.Umask(before)
	dir := filled(t)
	s := open(t, dir)
	target := filepath.Join(t.TempDir(), "copy")
	require.NoError(t, s.Checkpoint(t.Context(), target))
	for _, root := range []string{dir, target} {
		seen := 0
		require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			require.NoError(t, err)
			info, err := entry.Info()
			require.NoError(t, err)
			want := fs.FileMode(disk.FileMode)
			if entry.IsDir() {
				want = disk.DirMode
			}
			require.Equal(t, want, info.Mode().Perm(), path)
			seen++
			return nil
		}))
		require.Greater(t, seen, 5)
	}
}

// A copy has all that was acknowledged before it was made, and nothing of what came after.
func TestCheckpoint(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "store"))
	require.NoError(t, set(s, "k", records.Soon, rec("before", time.Hour)))
	require.NoError(t, s.State().Put(t.Context(), []byte("a"), []byte("1")))
	target := filepath.Join(t.TempDir(), "copy")
	require.NoError(t, s.Checkpoint(t.Context(), target))
	require.NoError(t, set(s, "k", records.Synced, rec("after", time.Hour)))
	require.ErrorIs(t, s.Checkpoint(t.Context(), target), fs.ErrExist)
	require.ErrorContains(t, s.Checkpoint(t.Context(), filepath.Join(s.dir, "copy")), "within the store")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.Checkpoint(ended, target+"2"), context.Canceled)
	require.NoDirExists(t, target+"2")
	require.NoError(t, os.MkdirAll(target+"3.partial", disk.DirMode))
	require.NoError(t, s.Checkpoint(t.Context(), target+"3"), "beside what another attempt has left")
	require.NoDirExists(t, target+"3.partial")

	again := open(t, target)
	held{"k": {"before"}}.require(t, again)
	require.NotEqual(t, s.ID(), again.ID(), "it lacks what comes after")
	require.Len(t, again.ID(), 16)
	require.NoError(t, again.State().Entries(t.Context(), func(key, value []byte) bool {
		require.Equal(t, "a=1", string(key)+"="+string(value))
		return true
	}))
	held{"k": {"after"}}.require(t, s)
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.Checkpoint(t.Context(), target+"4"), ErrClosed)
}

func TestState(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	state := s.State()
	entries := func(max int) (all []string) {
		require.NoError(t, s.State().Entries(t.Context(), func(key, value []byte) bool {
			all = append(all, string(key)+"="+string(value))
			key[0] = 'x'
			return len(all) < max
		}))
		return all
	}
	require.Empty(t, entries(9))
	value := []byte("2")
	require.NoError(t, state.Put(t.Context(), []byte("b"), value))
	value[0] = 'x'
	require.NoError(t, state.Put(t.Context(), []byte("a"), nil))
	require.NoError(t, state.Put(t.Context(), []byte("c"), []byte("3")))
	require.NoError(t, state.Delete(t.Context(), []byte("c")))
	require.NoError(t, state.Delete(t.Context(), []byte("never there")))
	require.Equal(t, []string{"a=", "b=2"}, entries(9))
	require.Equal(t, []string{"a="}, entries(1))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, state.Put(ended, []byte("d"), nil), context.Canceled)
	require.ErrorIs(t, state.Delete(ended, []byte("a")), context.Canceled)
	require.ErrorIs(t, state.Entries(ended, func(_, _ []byte) bool { return true }), context.Canceled)
	require.NoError(t, s.Close())
	require.ErrorIs(t, state.Put(t.Context(), []byte("d"), nil), ErrClosed)
	s = open(t, dir)
	require.Equal(t, []string{"a=", "b=2"}, entries(9))
}

// Steps of the wall clock, while the store is open and while it is not, give no record
// more life than it had, and take none while it is open.
func TestClock(t *testing.T) {
	dir := t.TempDir()
	step := time.Duration(0)
	wall := withStep(func() time.Duration { return step })
	left := func(s *Store) time.Duration {
		recs, err := s.Get(t.Context(), []byte("k"))
		require.NoError(t, err)
		return time.Until(recs[0].Expires)
	}
	const life = time.Hour
	about := func(want time.Duration, s *Store, what string) {
		t.Helper()
		require.InDelta(t, float64(want), float64(left(s)), float64(20*time.Second), what)
		require.LessOrEqual(t, left(s), want, what)
	}
	s := open(t, dir, wall)
	require.NoError(t, set(s, "k", records.Synced, rec("v", life)))
	for _, test := range []struct {
		what         string
		while, after time.Duration // by which the clock is set while it is open, and then
		want         time.Duration
	}{
		{"on time", 0, 0, life},
		{"set back while it was closed", 0, -48 * time.Hour, life},
		{"set ahead while it was open", 48 * time.Hour, 0, life},
		{"set back while it was open", -24 * time.Hour, 0, life},
		{"ten minutes later", 0, 10 * time.Minute, life - 10*time.Minute},
		{"set back again", 0, -10 * time.Minute, life - 10*time.Minute},
		{"beyond its end", 0, 2 * life, -life - 10*time.Minute},
		{"and back", 0, -2 * life, -life - 10*time.Minute},
	} {
		step += test.while
		require.NoError(t, s.Close()) // which writes the clock
		step += test.after
		s = open(t, dir, wall)
		about(test.want, s, test.what)
	}
}

// A store of 100,000 records is open in much less than 2 s.
func TestOpensFast(t *testing.T) {
	const n = 100_000
	dir := t.TempDir()
	s := open(t, dir)
	done := make(chan error, n)
	for i := range n {
		list := []records.Record{rec("a value of a few bytes, as they are", time.Hour)}
		key := []byte{byte(i), byte(i >> 8), byte(i >> 16), 'a', ' ', 'k', 'e', 'y'}
		s.Update(t.Context(), key, records.Soon, func([]records.Record) []records.Record { return list }, func(err error) { done <- err })
	}
	for range n {
		require.NoError(t, <-done)
	}
	require.NoError(t, s.Close())
	began := time.Now()
	s = open(t, dir)
	took := time.Since(began)
	usage, err := s.Usage(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, n, usage.Keys)
	t.Logf("%d records were there after %v, in %d bytes", n, took, s.Status().DiskBytes)
	require.Less(t, took, 10*time.Second) // of a machine that has much to do
}
