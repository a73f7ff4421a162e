package credentials

import (
	"crypto/rand"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/crypto/pb"
	"github.com/stretchr/testify/require"
)

// These tests hold for root too: they look at mode bits, not at what the kernel lets one open.

func TestKeyIsCreatedOnceAndKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	created, err := LoadOrCreateKey(dir)
	require.NoError(t, err)
	require.Equal(t, pb.KeyType_Ed25519, created.Type())

	requireMode(t, dir, 0o700)
	requireMode(t, filepath.Join(dir, KeyFile), 0o600)
	requireOnlyKeyFile(t, dir)

	again, err := LoadOrCreateKey(dir)
	require.NoError(t, err)
	require.True(t, created.Equals(again))

	loaded, err := LoadKey(dir)
	require.NoError(t, err)
	require.True(t, created.Equals(loaded))
}

func TestLoadKeyWithoutOne(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "missing")
	_, err := LoadKey(dir)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, dir)
	require.NoDirExists(t, dir, "loading makes nothing")
}

func TestKeyNeedsADirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	_, err := LoadOrCreateKey("")
	require.ErrorContains(t, err, "no data directory")
	require.NoFileExists(t, KeyFile)
}

func TestFirstOfManyStartsWins(t *testing.T) {
	const starts = 32
	dir := filepath.Join(t.TempDir(), "data")
	keys := make([]crypto.PrivKey, starts)
	errs := make([]error, starts)

	var ready, done sync.WaitGroup
	ready.Add(starts)
	for i := range starts {
		done.Go(func() {
			ready.Done()
			ready.Wait()
			keys[i], errs[i] = LoadOrCreateKey(dir)
		})
	}
	done.Wait()

	for i := range starts {
		require.NoError(t, errs[i])
		require.True(t, keys[0].Equals(keys[i]), "start %d has another identity", i)
	}
	requireOnlyKeyFile(t, dir)
}

func TestCreateKeyNeverOverwrites(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, createKey(dir))
	first, err := LoadKey(dir)
	require.NoError(t, err)

	require.ErrorIs(t, createKey(dir), fs.ErrExist)
	second, err := LoadKey(dir)
	require.NoError(t, err)
	require.True(t, first.Equals(second))
	requireOnlyKeyFile(t, dir)
}

func TestOpenKeyIsRefused(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, createKey(dir))
	path := filepath.Join(dir, KeyFile)
	for _, mode := range []fs.FileMode{0o604, 0o644, 0o666, 0o602} {
		require.NoError(t, os.Chmod(path, mode))
		_, err := LoadOrCreateKey(dir)
		require.ErrorContains(t, err, "chmod 600 "+path, "mode %#o", mode)
	}
	for mode, open := range map[fs.FileMode]bool{0o600: false, 0o400: false, 0o440: true, 0o640: true, 0o660: true} {
		require.NoError(t, os.Chmod(path, mode))
		_, err := LoadOrCreateKey(dir)
		require.NoError(t, err, "mode %#o", mode)
		warnings := DataDirWarnings(dir)
		require.Equal(t, open, len(warnings) == 1 && strings.Contains(warnings[0], path+" is open to its group"), "mode %#o: %q", mode, warnings)
	}
}

func TestDamagedKeyIsRefusedAndKept(t *testing.T) {
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	require.NoError(t, err)
	whole, err := crypto.MarshalPrivateKey(key)
	require.NoError(t, err)
	flipped := append([]byte(nil), whole...)
	flipped[len(flipped)-1] ^= 1 // in the public half: it still decodes

	for name, test := range map[string]struct {
		data []byte
		want string
	}{
		"empty":     {nil, "is empty"},
		"noise":     {[]byte("not a key"), "is corrupt"},
		"truncated": {whole[:len(whole)/2], "is corrupt"},
		"flipped":   {flipped, "do not match"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, KeyFile)
			require.NoError(t, os.WriteFile(path, test.data, 0o600))

			_, err := LoadOrCreateKey(dir)
			require.ErrorContains(t, err, test.want)
			require.ErrorContains(t, err, path)

			kept, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Len(t, kept, len(test.data), "what may yet be repaired is left alone")
		})
	}
}

func TestKeyFileMustBeAFile(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, KeyFile), 0o700))
	_, err := LoadOrCreateKey(dir)
	require.ErrorContains(t, err, "not a regular file")
}

func TestKeyDirCanNotBeMade(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	dir := filepath.Join(file, "data")
	_, err := LoadOrCreateKey(dir)
	require.ErrorContains(t, err, dir)
}

func requireMode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, want, info.Mode().Perm(), path)
}

// requireOnlyKeyFile checks that no temporary file is left behind.
func requireOnlyKeyFile(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.Equal(t, KeyFile, entries[0].Name())
}
