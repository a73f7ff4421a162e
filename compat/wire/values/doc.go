// Package values says which values may be stored in the DHT ([Parse]), and which of
// those an Erlang node survives reading ([Harmless]).
package values
