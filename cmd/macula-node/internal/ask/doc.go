// Package ask reaches the nodes that commands of macula-node ask: the one at an ADDR,
// the one that runs on the data directory, or a network that is entered for as long
// as the command lives. What became of it is said in words for who typed the command.
package ask
