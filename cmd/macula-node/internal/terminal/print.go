package terminal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/compat/wire/msgpack"
)

// Legible replaces what is no text of a line or two: a peer's words must not
// steer the terminal.
func Legible(text string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) || c == '\n' {
			return c
		}
		return unicode.ReplacementChar
	}, text)
}

// PrintJSON prints one line, of which nothing steers the terminal.
func PrintJSON(cmd *cli.Command, v any) error { return WriteJSON(cmd.Root().Writer, v) }

// WriteJSON is PrintJSON to out.
func WriteJSON(out io.Writer, v any) error {
	var line bytes.Buffer
	enc := json.NewEncoder(&line)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := out.Write(msgpack.EscapeJSON(line.Bytes()))
	return err
}

// Table writes tab-separated columns in line.
func Table(out io.Writer, rows func(io.Writer)) error {
	var all bytes.Buffer // in one Write, so that no log line comes between
	w := tabwriter.NewWriter(&all, 0, 4, 2, ' ', 0)
	rows(w)
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := all.WriteTo(out)
	return err
}

// Plural returns how many there are of a thing.
func Plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// Bytes returns a size as people read it.
func Bytes(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }
