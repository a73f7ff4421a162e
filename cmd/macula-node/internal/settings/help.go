package settings

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/internal/wrap"
)

// HelpAll is the flag that explains the limits too.
const HelpAll = "help-all"

// namesColumn is how wide the column of flags is; what is longer has a line of its own.
const namesColumn = 30

// Help returns what flags are, in lines of a terminal's width.
func Help(flags []cli.Flag) string {
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

// WithoutLimits returns the flags that a command's short help explains.
func WithoutLimits(all []cli.Flag) (short []cli.Flag) {
	limit := make(map[string]bool)
	for _, s := range Table() {
		limit[s.Flag] = s.Limit
	}
	for _, f := range all {
		if !limit[f.Names()[0]] {
			short = append(short, f)
		}
	}
	return short
}

// LimitsHelp explains the limits, by the sections that they are in.
func LimitsHelp() string {
	var text strings.Builder
	section := ""
	for _, s := range Table() {
		if !s.Limit {
			continue
		}
		if in, _ := s.Section(); in != section {
			fmt.Fprintf(&text, "\nLIMITS OF %s:\n", strings.ToUpper(in))
			section = in
		}
		text.WriteString(Help([]cli.Flag{flagOf(s)}))
	}
	return text.String()
}
