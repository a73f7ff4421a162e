package terminal

import (
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v3"
	"golang.org/x/term"
)

// Status tells people at a terminal what a command waits for: in one line of
// standard error that is written over, and gone in the end.
type Status struct {
	out   io.Writer // nil where nobody watches
	shown bool
}

// NewStatus returns the status line of a command.
func NewStatus(cmd *cli.Command) *Status {
	if cmd.Bool("json") || !IsOne(cmd.Root().ErrWriter) {
		return &Status{}
	}
	return &Status{out: cmd.Root().ErrWriter}
}

// IsOne reports whether what is written somewhere is read by people, at a terminal.
func IsOne(out io.Writer) bool {
	file, is := out.(*os.File)
	return is && term.IsTerminal(int(file.Fd()))
}

// eraseLine goes to the line's beginning and empties it.
const eraseLine = "\r\x1b[K"

// Show writes what is waited for over what was shown before.
func (s *Status) Show(format string, args ...any) {
	if s.out != nil {
		s.shown = true
		fmt.Fprintf(s.out, eraseLine+format+" …", args...)
	}
}

// Clear has nothing be shown any more.
func (s *Status) Clear() {
	if s.shown {
		s.shown = false
		fmt.Fprint(s.out, eraseLine)
	}
}
