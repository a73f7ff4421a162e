package credentials

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/libp2p/go-libp2p/core/crypto"

	"github.com/macula-mesh/macula-node/internal/datadir"
)

// KeyFile is the name, inside a node's data directory, of the private key that is the node's identity.
const KeyFile = "identity.key"

// LoadOrCreateKey returns the private key kept in dir and, at the first start, makes dir and an Ed25519 key in it.
// The key appears in one step and is never overwritten: of several processes that start at once the first wins,
// and all of them return its key.
func LoadOrCreateKey(dir string) (crypto.PrivKey, error) {
	if dir == "" {
		return nil, errors.New("no data directory: the identity key needs one")
	}
	key, err := LoadKey(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := createKey(dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("create the identity key in %s (choose a directory this user may write to): %w", dir, err)
	}
	return LoadKey(dir) // what is on the disk, whoever put it there
}

// Files returns the names of the files, inside a data directory, in which a node keeps what it proves itself with.
func Files() []string { return []string{KeyFile, certificateFile} }

// DataDirWarnings says what of a data directory is open to others than its owner and yet no reason to refuse it.
func DataDirWarnings(dir string) []string { return datadir.Warnings(dir, Files()...) }

// LoadKey returns the private key kept in dir. If there is none the error is fs.ErrNotExist to errors.Is.
// A key that everybody can reach, or that is damaged, is refused; its group may have it, see DataDirWarnings.
func LoadKey(dir string) (crypto.PrivKey, error) {
	path := filepath.Join(dir, KeyFile)
	data, err := datadir.ReadPrivate("identity key", path)
	if err != nil {
		return nil, err
	}
	if len(data) == 0 {
		return nil, fmt.Errorf("identity key %s is empty: restore it from a backup; for a new identity move it away, and the store beside it, which belongs to the old one", path)
	}
	key, err := unmarshalKey(data)
	if err != nil {
		return nil, fmt.Errorf("identity key %s is corrupt: restore it from a backup; for a new identity move it away, and the store beside it, which belongs to the old one: %w", path, err)
	}
	return key, nil
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
	return datadir.CreatePrivate(filepath.Join(dir, KeyFile), data)
}
