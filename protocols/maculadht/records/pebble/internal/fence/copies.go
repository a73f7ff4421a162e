package fence

import (
	"context"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// CopyTo has what is written under a path outside of the database end with ctx, until
// stop is called.
func (f *Fence) CopyTo(ctx context.Context, dir string) (stop func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.copies[dir] = ctx
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.copies, dir)
	}
}

// copying returns what ends the copy that a path is part of.
func (f *Fence) copying(name string) context.Context {
	f.mu.Lock()
	defer f.mu.Unlock()
	for dir, ctx := range f.copies {
		if Within(dir, name) {
			return ctx
		}
	}
	return context.Background()
}

func (f *Fence) openCopy(name string, open func() (vfs.File, error)) (vfs.File, error) {
	ctx := f.copying(name)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	file, err := open()
	if err != nil {
		return nil, err
	}
	return &copiedFile{file, ctx}, nil
}

// copiedFile is a file that is written to until its context ends.
type copiedFile struct {
	vfs.File
	ctx context.Context // of the copy that the file is part of
}

func (f *copiedFile) Write(p []byte) (int, error) {
	if err := f.ctx.Err(); err != nil {
		return 0, err
	}
	return f.File.Write(p)
}

func (f *copiedFile) Sync() error {
	if err := f.ctx.Err(); err != nil {
		return err
	}
	return f.File.Sync()
}
