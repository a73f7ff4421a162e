package flags

import (
	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/internal/conns"
)

// defaultConnMemory is for a machine of 512 MiB: 1,365 connections.
const defaultConnMemory = "128MiB"

// Conns are the flags of what connections may cost.
func Conns() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "conn-memory", Usage: "`SIZE` that all connections may cost in memory, 96 KiB each and 16 KiB for each stream; above it those of the network that has most are closed", Value: defaultConnMemory, Sources: Env("MACULA_CONN_MEMORY")},
	}
}

// ConnLimits returns what connections may cost.
func ConnLimits(cmd *cli.Command) (l conns.Limits, err error) {
	l.Memory, err = size(cmd, "conn-memory", "MACULA_CONN_MEMORY", conns.MinMemory)
	return l, err
}
