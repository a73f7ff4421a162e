// Package door is what a node's local API is reached through: a Unix socket in the data
// directory, which its user alone can open, and a TCP address, at which a [Guard] lets in
// who may come. There a web page of somebody else's could ask in its reader's name: by a name
// that it had lead to this machine (DNS rebinding), or across origins. Neither is served.
package door
