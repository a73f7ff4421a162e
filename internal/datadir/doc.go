// Package datadir is a node's data directory: how it and the files in it that hold
// secrets are made, the lock by which one node runs on it, and the file that says
// where that node is reached.
package datadir
