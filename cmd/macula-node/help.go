package main

import (
	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/settings"
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
` + settings.Help(append(settings.WithoutLimits(cmd.Flags), cli.HelpFlag))
}
