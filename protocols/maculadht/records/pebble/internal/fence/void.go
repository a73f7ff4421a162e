package fence

import (
	"io"
	"os"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// void is a file that there is not: nothing is written to it.
type void struct{ name string }

func (*void) Close() error                              { return nil }
func (*void) Read([]byte) (int, error)                  { return 0, io.EOF }
func (*void) ReadAt([]byte, int64) (int, error)         { return 0, io.EOF }
func (*void) Write(p []byte) (int, error)               { return len(p), nil }
func (*void) WriteAt(p []byte, _ int64) (int, error)    { return len(p), nil }
func (*void) Preallocate(int64, int64) error            { return nil }
func (v *void) Stat() (vfs.FileInfo, error)             { return voidInfo(v.name), nil }
func (*void) Sync() error                               { return nil }
func (*void) SyncTo(int64) (fullSync bool, err error)   { return false, nil }
func (*void) SyncData() error                           { return nil }
func (*void) Prefetch(offset int64, length int64) error { return nil }
func (*void) Fd() uintptr                               { return vfs.InvalidFd }

// voidInfo is what there is to know of an empty file by this name.
type voidInfo string

func (v voidInfo) Name() string         { return string(v) }
func (voidInfo) Size() int64            { return 0 }
func (voidInfo) Mode() os.FileMode      { return 0 }
func (voidInfo) ModTime() time.Time     { return time.Time{} }
func (voidInfo) IsDir() bool            { return false }
func (voidInfo) Sys() any               { return nil }
func (voidInfo) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }
