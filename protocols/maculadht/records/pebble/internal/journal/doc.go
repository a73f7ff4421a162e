// Package journal sees to it that what was synced to the files to which Pebble appends, its
// write-ahead logs and its manifest, is missed where it is gone: Pebble takes what it can
// not read of them, and a log that is not there, for what a power cut leaves.
//
// How far each was synced is the name of an empty file, the note, as a name is changed at
// once and costs no sync. It says at least that a log is there from before anything in it
// is acknowledged; how far it was synced is written every second, and exactly at the end.
package journal
