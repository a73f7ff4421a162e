// Package journal checks that the files to which Pebble appends hold what was synced.
package journal
