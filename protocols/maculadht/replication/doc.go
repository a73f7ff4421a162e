// Package replication puts records where they are looked for: on the nodes nearest
// to their key.
//
// [Replicate] does so once. An [Adopter] does so for the nodes that store at this
// one only, as Erlang nodes store at their gateway: again and again, for as long as
// they renew what they stored.
package replication
