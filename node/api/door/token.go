package door

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	// TokenFile is where the token is kept in a data directory.
	TokenFile = "api.token"
	// minToken and maxToken are how many characters a token has.
	minToken, maxToken = 16, 256
)

// Token is what who asks over TCP has to know.
type Token string

// LoadToken returns the token that is kept in a data directory, made when there is none. A
// file that others can read is refused.
func LoadToken(dataDir string) (Token, error) {
	path := filepath.Join(dataDir, TokenFile)
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return makeToken(path)
	case err != nil:
		return "", fmt.Errorf("read the token of the local API: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("read the token of the local API: %w", err)
	}
	if open := info.Mode().Perm() & 0o077; open != 0 && hasModes {
		return "", fmt.Errorf("the token of the local API, %s, is open to others (%s): chmod 600 it, or remove it to have another made", path, info.Mode().Perm())
	}
	t := Token(strings.TrimSpace(string(text)))
	if len(t) < minToken || len(t) > maxToken || strings.ContainsFunc(string(t), func(c rune) bool { return c <= ' ' || c > '~' }) {
		return "", fmt.Errorf("the token of the local API, %s, is not %d to %d printable characters of ASCII: remove it to have another made", path, minToken, maxToken)
	}
	return t, nil
}

func makeToken(path string) (Token, error) {
	t := Token(rand.Text() + rand.Text())
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		_, err = f.WriteString(string(t) + "\n")
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err != nil {
		return "", fmt.Errorf("make the token of the local API: %w", err)
	}
	return t, nil
}

// Is reports whether what was sent is the token.
func (t Token) Is(sent string) bool {
	want, got := sha256.Sum256([]byte(t)), sha256.Sum256([]byte(sent))
	return t != "" && subtle.ConstantTimeCompare(want[:], got[:]) == 1
}
