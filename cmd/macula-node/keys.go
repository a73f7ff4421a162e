package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"

	ma "github.com/multiformats/go-multiaddr"
	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/compat/wire"
)

// keyFlags name a key by what it is the hash of.
func keyFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "service", Usage: "the key is the SHA-256 of this service's `NAME`"},
		&cli.StringFlag{Name: "topic", Usage: "the key is the SHA-256 of this topic's `NAME`"},
	}
}

const keyHelp = `A KEY is 64 hexadecimal digits, 0x and the hexadecimal digits of its bytes, or a
text that is taken as it is; --service NAME and --topic NAME stand for one. What
is printed for a key is a KEY again.`

const localHelp = `
Without ADDR it is the node that runs on the data directory.`

// splitArgs returns ADDR's followers: the key, given by a flag or as the first
// of them, and the others, of which there must be as many as names.
func splitArgs(cmd *cli.Command, names ...string) (key namedKey, rest []string, err error) {
	args := cmd.Args().Slice()
	if len(args) == 0 {
		return namedKey{}, nil, usagef("ADDR is missing; %s", usageOf(cmd))
	}
	return splitKey(cmd, args[1:], names...)
}

// splitOptional is splitArgs where ADDR may be left out, and is empty then: where
// there is no argument too many, unless the first of them can be nothing else.
func splitOptional(cmd *cli.Command, names ...string) (addr string, key namedKey, rest []string, err error) {
	args := cmd.Args().Slice()
	least := len(names)
	if cmd.String("service")+cmd.String("topic") == "" {
		least++
	}
	if len(args) > least || len(args) > 0 && isAddr(args[0]) {
		addr, args = args[0], args[1:]
	}
	key, rest, err = splitKey(cmd, args, names...)
	return addr, key, rest, err
}

// isAddr reports whether an argument is meant for an ADDR wherever one may stand.
func isAddr(text string) bool {
	if strings.HasPrefix(text, "https://") {
		return true
	}
	_, err := ma.NewMultiaddr(text)
	return err == nil
}

func usageOf(cmd *cli.Command) string { return "usage: " + cmd.FullName() + " " + cmd.ArgsUsage }

// splitKey is splitArgs without an ADDR.
func splitKey(cmd *cli.Command, rest []string, names ...string) (key namedKey, others []string, err error) {
	service, topic := cmd.String("service"), cmd.String("topic")
	usage := usageOf(cmd)
	switch {
	case service != "" && topic != "":
		return namedKey{}, nil, usagef("--service and --topic are two keys; %s", usage)
	case service != "":
		key = hashOf("service", service)
	case topic != "":
		key = hashOf("topic", topic)
	case len(rest) == 0:
		return namedKey{}, nil, usagef("KEY is missing; %s", usage)
	default:
		if key.bytes, err = parseKey(rest[0]); err != nil {
			return namedKey{}, nil, err
		}
		key.typed = fmt.Sprintf("%q", rest[0])
		rest = rest[1:]
	}
	if len(rest) < len(names) {
		return namedKey{}, nil, usagef("%s is missing; %s", names[len(rest)], usage)
	}
	if len(rest) > len(names) {
		return namedKey{}, nil, usagef("%q is one argument too many; %s", rest[len(names)], usage)
	}
	return key, rest, nil
}

// namedKey is a key, and how it was given.
type namedKey struct {
	bytes []byte
	typed string
}

func hashOf(what, name string) namedKey {
	sum := sha256.Sum256([]byte(name))
	return namedKey{sum[:], fmt.Sprintf("%s %q", what, name)}
}

// String returns a KEY by which the same key can be given again.
func (k namedKey) String() string { return keyText(k.bytes) }

// long is String with what was typed beside it, where that is something else.
func (k namedKey) long() string {
	text := k.String()
	if k.typed == fmt.Sprintf("%q", text) {
		return text
	}
	return text + ", " + k.typed
}

// hexPrefix begins a KEY of any bytes.
const hexPrefix = "0x"

// keyText returns the KEY of some bytes, which a shell takes as it is: a text where
// that means the same key.
func keyText(key []byte) string {
	if len(key) == sha256.Size {
		return hex.EncodeToString(key)
	}
	text := string(key)
	quoted := func(c rune) bool {
		return c == unicode.ReplacementChar || !unicode.IsLetter(c) && !unicode.IsDigit(c) && !strings.ContainsRune("._:/@%+=,-", c)
	}
	read, err := parseKey(text)
	if err != nil || string(read) != text || strings.HasPrefix(text, "-") || isAddr(text) || strings.ContainsFunc(text, quoted) {
		return hexPrefix + hex.EncodeToString(key)
	}
	return text
}

func parseKey(text string) ([]byte, error) {
	key := []byte(text)
	if b, err := hex.DecodeString(text); err == nil && len(b) == sha256.Size {
		key = b
	} else if digits, ok := strings.CutPrefix(text, hexPrefix); ok {
		if b, err := hex.DecodeString(digits); err == nil && len(b) > 0 {
			key = b
		}
	}
	if len(key) == 0 || len(key) > wire.MaxField {
		return nil, usagef("KEY of %d bytes: want 1 to %d", len(key), wire.MaxField)
	}
	return key, nil
}
