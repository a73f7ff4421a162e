package node

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/libp2p/go-libp2p/core/crypto"
)

// keyFile is the name, inside a node's data directory, of the private key that is the node's identity.
const keyFile = "identity.key"

// LoadOrCreateKey returns the private key kept in dir and, at the first start, makes dir and an Ed25519 key in it.
// The key appears in one step and is never overwritten: of several processes that start at once the first wins,
// and all of them return its key.
func LoadOrCreateKey(dir string) (crypto.PrivKey, error) {
	key, err := LoadKey(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := createKey(dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("create the identity key in %s (choose a directory this user may write to): %w", dir, err)
	}
	return LoadKey(dir) // what is on the disk, whoever put it there
}

// LoadKey returns the private key kept in dir. If there is none the error is fs.ErrNotExist to errors.Is.
// A key that others than its owner can reach, or that is damaged, is refused.
func LoadKey(dir string) (crypto.PrivKey, error) {
	path := filepath.Join(dir, keyFile)
	data, err := readPrivate("identity key", path)
	if err != nil {
		return nil, err
	}
	if len(data) == 0 {
		return nil, fmt.Errorf("identity key %s is empty: restore it from a backup, or delete it to start with a new identity", path)
	}
	key, err := unmarshalKey(data)
	if err != nil {
		return nil, fmt.Errorf("identity key %s is corrupt: restore it from a backup, or delete it to start with a new identity: %w", path, err)
	}
	return key, nil
}

// readPrivate reads a file of the data directory that holds a secret; what names it in errors. What can not be this
// node's own is refused before a byte of it is read.
func readPrivate(what, path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, fmt.Errorf("find the %s: %w", what, err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s %s is not a regular file (%s): move it away", what, path, info.Mode())
	case runtime.GOOS == "windows": // its mode bits say nothing about who may read
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("%s %s is open to group or others (mode %#o): run chmod 600 %s", what, path, info.Mode().Perm(), path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the %s: %w", what, err)
	}
	return data, nil
}

// unmarshalKey decodes a key and has it sign, as decoding alone lets a private and a public half pass that do not match.
func unmarshalKey(data []byte) (crypto.PrivKey, error) {
	key, err := crypto.UnmarshalPrivateKey(data)
	if err != nil {
		return nil, err
	}
	probe := []byte("macula-node identity check")
	signature, err := key.Sign(probe)
	if err != nil {
		return nil, err
	}
	if ok, err := key.GetPublic().Verify(probe, signature); err != nil || !ok {
		return nil, errors.Join(errors.New("the private and the public half do not match"), err)
	}
	return key, nil
}

// createKey puts a new key in dir, or fails with fs.ErrExist if there is one.
func createKey(dir string) error {
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		return err
	}
	data, err := crypto.MarshalPrivateKey(key)
	if err != nil {
		return err
	}
	return createPrivate(filepath.Join(dir, keyFile), data)
}

// createPrivate makes a file that only its owner can read, and its directory. It appears in one step, or fails with
// fs.ErrExist if there is one.
func createPrivate(path string, data []byte) error {
	// A link fails where a rename would overwrite: that is what lets the first of two processes win.
	return writePrivate(path, data, os.Link)
}

// writePrivate writes data beside path, for its owner alone, and has put bring it there.
func writePrivate(path string, data []byte, put func(temp, path string) error) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	temp, err := writeTemp(path, data)
	if err != nil {
		return err
	}
	defer os.Remove(temp)
	if err := put(temp, path); err != nil {
		return err
	}
	return syncDir(dir)
}

// writeTemp writes data to a new file beside path that only its owner can read, and returns its name once the disk has it.
func writeTemp(path string, data []byte) (name string, err error) {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp") // mode 0600
	if err != nil {
		return "", err
	}
	_, err = file.Write(data)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return "", errors.Join(err, os.Remove(file.Name()))
	}
	return file.Name(), nil
}

// syncDir makes a new name in dir survive a power cut.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" { // has no such call
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
