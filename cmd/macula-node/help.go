package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/internal/wrap"
)

// helpTemplate is that of a command, with its options in lines of a terminal's width.
func helpTemplate(cmd *cli.Command) string {
	return `NAME:
   {{template "helpNameTemplate" .}}

USAGE:
   {{template "usageTemplate" .}}{{if .Description}}

DESCRIPTION:
   {{template "descriptionTemplate" .}}{{end}}

OPTIONS:
` + options(append(slices.Clone(cmd.Flags), cli.HelpFlag))
}

// namesColumn is how wide the column of flags is; what is longer has a line of its own.
const namesColumn = 30

func options(flags []cli.Flag) string {
	var text strings.Builder
	for _, flag := range flags {
		names, usage, _ := strings.Cut(cli.FlagStringer(flag), "\t")
		names, _, _ = strings.Cut("   "+names, " [ ") // which repeats them, of one that is repeatable
		lines := wrap.Lines(usage, wrap.Columns-namesColumn-1)
		if len(names)+2 > namesColumn {
			fmt.Fprintln(&text, names)
		} else {
			fmt.Fprintf(&text, "%-*s%s\n", namesColumn, names, lines[0])
			lines = lines[1:]
		}
		for _, line := range lines {
			fmt.Fprintf(&text, "%*s%s\n", namesColumn, "", line)
		}
	}
	return text.String()
}
