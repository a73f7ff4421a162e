// Package backup copies what a node must not lose: its identity, its certificate and
// its records, while it runs or stands still. The copy is a data directory that a
// node can run on.
package backup
