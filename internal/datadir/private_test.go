package datadir

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFirstOfManyCreates(t *testing.T) {
	const starts = 32
	path := filepath.Join(t.TempDir(), "data", "secret")
	errs := make([]error, starts)
	var ready, done sync.WaitGroup
	ready.Add(starts)
	for i := range starts {
		done.Go(func() {
			ready.Done()
			ready.Wait()
			errs[i] = CreatePrivate(path, []byte(strconv.Itoa(i)))
		})
	}
	done.Wait()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	for i, err := range errs {
		if strconv.Itoa(i) == string(data) {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, fs.ErrExist)
		}
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing else is left")
}

func TestWarnings(t *testing.T) {
	if !hasModes {
		t.Skip("modes say nothing here")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "secret")
	require.NoError(t, CreatePrivate(path, nil))
	for name, test := range map[string]struct {
		dir, file fs.FileMode
		want      []string
	}{
		"closed":               {0o700, 0o600, nil},
		"all may look":         {0o755, 0o400, nil},
		"the group may write":  {0o770, 0o600, []string{"chmod 700 " + dir}},
		"everybody may write":  {0o777, 0o600, []string{"chmod 700 " + dir}},
		"as Kubernetes has it": {0o750, 0o440, []string{"chmod 600 " + path}},
		"both":                 {0o2770, 0o660, []string{"chmod 700 " + dir, "chmod 600 " + path}},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.Chmod(dir, test.dir))
			require.NoError(t, os.Chmod(path, test.file))
			got := Warnings(dir, "secret", "missing")
			require.Len(t, got, len(test.want), "%q", got)
			for i := range got {
				require.Contains(t, got[i], test.want[i])
			}
		})
	}
}
