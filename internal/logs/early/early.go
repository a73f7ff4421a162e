// Package early keeps GOLOG_LOG_LEVEL from those who read it before main does, if
// it can not be read: go-log and libp2p would each write a line of their own to
// standard error. It imports nothing but the standard library, so that it is
// initialized before them (packages are in the order of their paths, those first
// that wait for no other).
package early

import (
	"os"
	"strings"
)

// Variable is the environment's variable of the level.
const Variable = "GOLOG_LOG_LEVEL"

var hidden = hide()

func hide() string {
	text := os.Getenv(Variable)
	if Readable(text) {
		return ""
	}
	os.Unsetenv(Variable)
	return text
}

// Restore puts back into the environment what was hidden, for main to judge.
func Restore() {
	if hidden != "" {
		os.Setenv(Variable, hidden)
	}
}

// Readable reports whether a text, where there is one, is made of levels and of
// SUBSYSTEM=LEVEL, with commas between.
func Readable(text string) bool {
	if text == "" {
		return true
	}
	for part := range strings.SplitSeq(text, ",") {
		if _, _, ok := Cut(part); !ok {
			return false
		}
	}
	return true
}

// Cut reads a level, debug, info, warn or error in any case, or the level of a
// subsystem.
func Cut(part string) (subsystem, level string, ok bool) {
	subsystem, level, of := strings.Cut(strings.TrimSpace(part), "=")
	if !of {
		subsystem, level = "", subsystem
	}
	switch level = strings.ToLower(level); level {
	case "debug", "info", "warn", "error":
		return subsystem, level, !of || subsystem != ""
	}
	return "", "", false
}
