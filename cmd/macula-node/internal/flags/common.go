package flags

import (
	"time"

	"github.com/urfave/cli/v3"
)

// Timeout says how long a command may take.
func Timeout(usual time.Duration) cli.Flag {
	return &cli.DurationFlag{Name: "timeout", Usage: "how long all of it may take", Value: usual,
		Validator: func(d time.Duration) error {
			if d <= 0 {
				return Usagef("want more than 0, got %v", d)
			}
			return nil
		}}
}

// JSON is on every command.
func JSON() cli.Flag {
	return &cli.BoolFlag{Name: "json", Usage: "print JSON instead of text"}
}
