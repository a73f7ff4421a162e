// Package flags reads the command line and the environment of macula-node: the flags
// that commands share, KEY and ADDR, the data directory, the logs' levels. What is
// wrong with them is a usage error, of the exit code 2.
package flags
