package main

import (
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v3"
	"golang.org/x/term"
)

// status tells people at a terminal what a command waits for: in one line of
// standard error that is written over, and gone in the end.
type status struct {
	out   io.Writer // nil where nobody watches
	shown bool
}

func newStatus(cmd *cli.Command) *status {
	file, ok := cmd.Root().ErrWriter.(*os.File)
	if !ok || cmd.Bool("json") || !term.IsTerminal(int(file.Fd())) {
		return &status{}
	}
	return &status{out: file}
}

// eraseLine goes to the line's beginning and empties it.
const eraseLine = "\r\x1b[K"

func (s *status) show(format string, args ...any) {
	if s.out != nil {
		s.shown = true
		fmt.Fprintf(s.out, eraseLine+format+" …", args...)
	}
}

func (s *status) clear() {
	if s.shown {
		s.shown = false
		fmt.Fprint(s.out, eraseLine)
	}
}
