package journal

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// slowNotes is a file system that holds up whoever writes a note.
type slowNotes struct {
	vfs.FS
	begun, goOn chan struct{}
}

func (s *slowNotes) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if _, is := parseNote(s.PathBase(name)); is {
		s.begun <- struct{}{}
		<-s.goOn
	}
	return s.FS.Create(name, category)
}

// Who syncs does not wait for a note that is being written.
func TestSyncsDoNotWaitForNotes(t *testing.T) {
	disk := &slowNotes{vfs.NewMem(), make(chan struct{}), make(chan struct{})}
	require.NoError(t, disk.MkdirAll("store", 0o700))
	files, err := New(disk, "store")
	require.NoError(t, err)
	log, err := files.Create("store/000002.log", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	noted := make(chan error, 1)
	go func() { noted <- files.Note() }()
	<-disk.begun
	_, err = log.Write([]byte("record"))
	require.NoError(t, err)
	require.NoError(t, log.Sync()) // or the test is ended by its deadline
	another, err := files.Create("store/000003.log", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	require.NoError(t, another.Close())
	close(disk.goOn)
	require.NoError(t, <-noted)
	require.NoError(t, files.Note())
	names, err := disk.List("store")
	require.NoError(t, err)
	require.Equal(t, map[string]int64{"000002.log": 6, "000003.log": 0}, lastNote(names).synced)
	require.NoError(t, log.Close())
}
