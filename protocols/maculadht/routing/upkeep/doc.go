// Package upkeep keeps a routing table true and records where they belong: it asks
// silent contacts for a sign of life, refreshes idle buckets, and hands records over to
// newcomers that are nearer to their keys.
package upkeep
