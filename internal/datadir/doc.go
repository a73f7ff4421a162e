// Package datadir is a node's data directory: the files in it that hold secrets,
// the lock by which one node runs on it, and the file that says where it is
// reached.
package datadir
