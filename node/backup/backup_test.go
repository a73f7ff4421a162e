package backup

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/node/credentials"
)

// store is one whose copy is one file, made with the modes of a careless library.
type store struct{ err error }

func (s store) Checkpoint(_ context.Context, dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	return errors.Join(os.WriteFile(filepath.Join(dir, "000001.sst"), []byte("records"), 0o644), s.err)
}

// used returns a data directory of a node that has run.
func used(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	_, err := credentials.LoadOrCreateKey(dir)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "running.json"), nil, 0o600))
	return dir
}

func TestMake(t *testing.T) {
	data, dir := used(t), filepath.Join(t.TempDir(), "copy")
	made, err := Make(t.Context(), data, store{}, dir)
	require.NoError(t, err)
	info, err := os.Stat(filepath.Join(data, "identity.key"))
	require.NoError(t, err)
	require.Equal(t, Made{Dir: dir, Files: 2, Bytes: info.Size() + int64(len("records")), Key: true, Records: true}, made)

	want, err := credentials.LoadKey(data)
	require.NoError(t, err)
	got, err := credentials.LoadKey(dir)
	require.NoError(t, err)
	require.True(t, want.Equals(got))
	require.NoFileExists(t, filepath.Join(dir, "running.json"), "nothing runs there")
	require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := e.Info()
		require.NoError(t, err)
		require.Zero(t, info.Mode().Perm()&0o077, "%s is its owner's", path)
		return nil
	}))
	requireAlone(t, dir)

	made, err = Make(t.Context(), data, nil, filepath.Join(filepath.Dir(dir), "identity"))
	require.NoError(t, err)
	require.False(t, made.Records)
	require.Equal(t, 1, made.Files)
}

// requireAlone checks that nothing lies beside a copy, be it there or not.
func requireAlone(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(dir))
	require.NoError(t, err)
	for _, e := range entries {
		require.Equal(t, filepath.Base(dir), e.Name())
	}
}

func TestMadeWholeOrNotAtAll(t *testing.T) {
	broken := errors.New("the disk is full")
	ended, end := context.WithCancel(t.Context())
	end()
	data := used(t)
	empty := t.TempDir()
	for name, test := range map[string]struct {
		ctx   context.Context
		data  string
		store Checkpointer
		dir   func(t *testing.T) string
		is    error
		want  string
	}{
		"the store fails":        {t.Context(), data, store{broken}, nil, broken, "copy the records"},
		"interrupted":            {ended, data, store{}, nil, context.Canceled, ""},
		"nothing there":          {t.Context(), empty, nil, nil, ErrNothing, empty},
		"no parent":              {t.Context(), data, store{}, func(t *testing.T) string { return filepath.Join(t.TempDir(), "a", "b") }, ErrPlace, "make it first"},
		"a name too long":        {t.Context(), data, store{}, func(t *testing.T) string { return filepath.Join(t.TempDir(), strings.Repeat("x", 250)) }, ErrPlace, "it can not be made in "},
		"in the data directory":  {t.Context(), data, store{}, func(*testing.T) string { return filepath.Join(data, "b") }, ErrPlace, "inside the data directory"},
		"an empty directory":     {t.Context(), data, store{}, func(t *testing.T) string { return t.TempDir() }, ErrExists, "not there yet"},
		"one that is being made": {t.Context(), data, store{}, beingMade, ErrExists, "being made"},
		"one of somebody else's": {t.Context(), data, store{}, unmarked, ErrExists, "hold the node's key"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "copy")
			if test.dir != nil {
				dir = test.dir(t)
			}
			before, _ := os.ReadDir(filepath.Dir(dir))
			_, err := Make(test.ctx, test.data, test.store, dir)
			require.ErrorIs(t, err, test.is)
			require.ErrorContains(t, err, test.want)
			require.NotContains(t, err.Error(), "x"+partial)
			after, _ := os.ReadDir(filepath.Dir(dir))
			require.Len(t, after, len(before), "nothing is left behind, nothing is taken away")
		})
	}
}

func unmarked(t *testing.T) string {
	dir := filepath.Join(t.TempDir(), "copy")
	require.NoError(t, os.Mkdir(dir+partial, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir+partial, "any"), nil, 0o600))
	return dir
}

func beingMade(t *testing.T) string {
	dir := filepath.Join(t.TempDir(), "copy")
	unmark, err := begin(dir + partial)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, unmark()) })
	return dir
}

// What a process that was killed has left, key and all, is replaced.
func TestMadeInPlaceOfWhatAKillLeft(t *testing.T) {
	data := used(t)
	for name, left := range map[string][]string{
		"midway":     {mark, "identity.key"},
		"when begun": {},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "copy")
			require.NoError(t, os.Mkdir(dir+partial, 0o700))
			for _, name := range left {
				require.NoError(t, os.WriteFile(filepath.Join(dir+partial, name), nil, 0o600))
			}
			_, err := Make(t.Context(), data, store{}, dir)
			require.NoError(t, err)
			requireAlone(t, dir)
			require.NoFileExists(t, filepath.Join(dir, mark))
		})
	}
}
