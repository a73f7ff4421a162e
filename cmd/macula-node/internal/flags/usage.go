package flags

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v3"
)

// usageError is a command line that can not be carried out as it is.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// Usagef returns the error of a command line that can not be carried out as it is.
func Usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// Usage makes an error one of the command line.
func Usage(err error) error { return usageError{err} }

// IsUsage reports whether an error is one of the command line.
func IsUsage(err error) bool {
	var usage usageError
	return errors.As(err, &usage)
}

// UsageOf returns how a command is written.
func UsageOf(cmd *cli.Command) string { return "usage: " + cmd.FullName() + " " + cmd.ArgsUsage }
