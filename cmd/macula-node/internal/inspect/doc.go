// Package inspect has the commands that show what the node knows, keeps and does which runs
// on the data directory, and those by which its operator has a say in it.
package inspect
