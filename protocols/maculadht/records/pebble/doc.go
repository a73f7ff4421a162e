// Package pebble has a [records.Store] on a disk, in a database of Pebble.
//
// All that is stored is in memory too, in the store of package records: reads come from
// there and never wait for the disk, which is read when the store is opened. What is
// written goes one way: updates queue, one goroutine, the committer, takes those that
// have come, changes the lists, has another one write them in one batch, and only when
// that has been committed changes the memory and says that they are done. While one batch is
// synced those that follow are gathered and applied, and share the next sync.
//
// A disk that fails, or does not answer for 2 s, refuses what is to be stored and nothing
// else. The database is then left alone, and opened anew every second until it works; what
// it may have missed is written once more from memory, and what it has beyond that is
// taken away.
package pebble
