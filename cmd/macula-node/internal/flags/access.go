package flags

import "github.com/urfave/cli/v3"

// Access are the flags that say who may come, and who is answered.
func Access() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "allow", Usage: "`FILE` of those who may come, a peer id or an address range a line: where it has entries nobody else may. SIGHUP has it read again"},
		&cli.StringFlag{Name: "deny", Usage: "`FILE` of those who may not come, in the same form; it goes before --allow"},
		&cli.BoolFlag{Name: "strict", Usage: "answer nobody who has not CONNECTed in the realm"},
		&cli.BoolFlag{Name: "group-private", Usage: "count private addresses and loopback in IP groups, of which only a few have a place, as public ones are: where nodes of others are in the same private network, or come through a proxy"},
		&cli.StringFlag{Name: "swarm-key", Usage: "`FILE` of a libp2p private network: refused, as QUIC can not be in one; use --allow and --strict"},
	}
}
