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
	file, ok := cmd.Root().ErrWriter.(*os.File)
	if !ok || cmd.Bool("json") || !term.IsTerminal(int(file.Fd())) {
		return &Status{}
	}
	return &Status{out: file}
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
