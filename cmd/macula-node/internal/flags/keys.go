package flags

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

// Keys name a key by what it is the hash of.
func Keys() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "service", Usage: "the key is the SHA-256 of this service's `NAME`"},
		&cli.StringFlag{Name: "topic", Usage: "the key is the SHA-256 of this topic's `NAME`"},
	}
}

// KeyHelp says in a command's help what a KEY is.
const KeyHelp = `A KEY is 64 hexadecimal digits, 0x and the hexadecimal digits of its bytes,
or a text that is taken as it is; --service NAME and --topic NAME stand for
one. What is printed for a key is a KEY again.`

// LocalHelp says what a command asks without ADDR.
const LocalHelp = `
Without ADDR it is the node that runs on the data directory.`

// SplitArgs returns ADDR's followers: the key, given by a flag or as the first
// of them, and the others, of which there must be as many as names.
func SplitArgs(cmd *cli.Command, names ...string) (key Key, rest []string, err error) {
	args := cmd.Args().Slice()
	if len(args) == 0 {
		return Key{}, nil, Usagef("ADDR is missing; %s", UsageOf(cmd))
	}
	return SplitKey(cmd, args[1:], names...)
}

// SplitOptional is SplitArgs where ADDR may be left out, and is empty then: where
// there is no argument too many, unless the first of them can be nothing else.
func SplitOptional(cmd *cli.Command, names ...string) (addr string, key Key, rest []string, err error) {
	args := cmd.Args().Slice()
	least := len(names)
	if cmd.String("service")+cmd.String("topic") == "" {
		least++
	}
	if len(args) > least || len(args) > 0 && isAddr(args[0]) {
		addr, args = args[0], args[1:]
	}
	key, rest, err = SplitKey(cmd, args, names...)
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

// SplitKey is SplitArgs without an ADDR.
func SplitKey(cmd *cli.Command, rest []string, names ...string) (key Key, others []string, err error) {
	service, topic := cmd.String("service"), cmd.String("topic")
	usage := UsageOf(cmd)
	switch {
	case service != "" && topic != "":
		return Key{}, nil, Usagef("--service and --topic are two keys; %s", usage)
	case service != "":
		key = hashOf("service", service)
	case topic != "":
		key = hashOf("topic", topic)
	case len(rest) == 0:
		return Key{}, nil, Usagef("KEY is missing; %s", usage)
	default:
		if key.Bytes, err = ParseKey(rest[0]); err != nil {
			return Key{}, nil, err
		}
		key.Typed = fmt.Sprintf("%q", rest[0])
		if note := keyNote(rest[0]); note != "" {
			Note(cmd, "%s", note)
		}
		rest = rest[1:]
	}
	if len(rest) < len(names) {
		return Key{}, nil, Usagef("%s is missing; %s", names[len(rest)], usage)
	}
	if len(rest) > len(names) {
		return Key{}, nil, Usagef("%q is one argument too many; %s", rest[len(names)], usage)
	}
	return key, rest, nil
}

// Key is a key, and how it was given.
type Key struct {
	Bytes []byte
	Typed string // quoted, or the flag's name and the quoted name
}

func hashOf(what, name string) Key {
	sum := sha256.Sum256([]byte(name))
	return Key{sum[:], fmt.Sprintf("%s %q", what, name)}
}

// String returns a KEY by which the same key can be given again.
func (k Key) String() string { return keyText(k.Bytes) }

// Long is String with what was typed beside it, where that is something else.
func (k Key) Long() string {
	text := k.String()
	if k.Typed == fmt.Sprintf("%q", text) {
		return text
	}
	return text + ", " + k.Typed
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
	read, err := ParseKey(text)
	if err != nil || string(read) != text || strings.HasPrefix(text, "-") || isAddr(text) || strings.ContainsFunc(text, quoted) {
		return hexPrefix + hex.EncodeToString(key)
	}
	return text
}

// keyNote says of a KEY that looks like digits, and is none, that it is a text; nothing of
// others.
func keyNote(text string) string {
	digits, prefixed := strings.CutPrefix(text, hexPrefix)
	hexes := 0
	for _, c := range digits {
		if strings.ContainsRune("0123456789abcdefABCDEF", c) {
			hexes++
		}
	}
	read, err := ParseKey(text)
	switch {
	case err != nil || string(read) != text:
		return ""
	case prefixed:
		return fmt.Sprintf("KEY %q is taken as a text: behind %s there is no even number of hexadecimal digits", text, hexPrefix)
	case len(text) > 48 && len(text) < 80 && hexes >= len(text)-4:
		return fmt.Sprintf("KEY %q is taken as a text: it has %d hexadecimal digits of %d bytes, and a key has %d", text, hexes, len(text), 2*sha256.Size)
	}
	return ""
}

// ParseKey returns the bytes of a KEY as it is typed.
func ParseKey(text string) ([]byte, error) {
	key := []byte(text)
	if b, err := hex.DecodeString(text); err == nil && len(b) == sha256.Size {
		key = b
	} else if digits, ok := strings.CutPrefix(text, hexPrefix); ok {
		if b, err := hex.DecodeString(digits); err == nil && len(b) > 0 {
			key = b
		}
	}
	if len(key) == 0 || len(key) > wire.MaxField {
		return nil, Usagef("KEY of %d bytes: want 1 to %d", len(key), wire.MaxField)
	}
	return key, nil
}
