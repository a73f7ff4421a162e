// Package entries is what the database of a store holds and how it is written: an entry
// for each record, one for each key of the state, and the clock.
package entries
