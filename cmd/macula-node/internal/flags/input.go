package flags

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/compat/wire"
)

// Typed is under what the command line as it was typed is kept in the metadata of the
// program: its arguments do not tell where a -- was.
const Typed = "typed"

// BehindDashes reports whether the last n arguments of a command were typed behind --.
func BehindDashes(cmd *cli.Command, n int) bool {
	typed, _ := cmd.Root().Metadata[Typed].([]string)
	i := slices.Index(typed, "--")
	return i >= 0 && len(typed)-i-1 == n
}

// Input returns what standard input has for an argument, such as PAYLOAD, of which it is at
// most 1 MiB.
func Input(what string) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(os.Stdin, wire.MaxPayload+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s from standard input: %w", what, err)
	case len(text) > wire.MaxPayload:
		return nil, Usagef("%s from standard input has more than %d bytes, which is the most", what, wire.MaxPayload)
	}
	return text, nil
}

// CheckText refuses what is no UTF-8, of which others would be told something else.
func CheckText(what, text string) error {
	if !utf8.ValidString(text) {
		return Usagef("%s %q is no UTF-8 text", what, Shorten(text))
	}
	return nil
}

// Note tells who typed a command of what may not be meant.
func Note(cmd *cli.Command, format string, args ...any) {
	fmt.Fprintf(cmd.Root().ErrWriter, "macula-node: "+format+"\n", args...)
}

// PatternNote says what of a pattern may not be meant; nothing of most.
func PatternNote(pattern string) string {
	for segment := range strings.SplitSeq(pattern, ".") {
		switch {
		case segment == "":
			return fmt.Sprintf("PATTERN %q has an empty segment, which fits an empty one alone", pattern)
		case strings.Contains(segment, "*") && segment != "*" && segment != "**":
			return fmt.Sprintf("PATTERN %q: the segment %q fits only itself, as a * stands for a whole segment", pattern, segment)
		}
	}
	return ""
}
