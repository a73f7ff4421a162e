// Package fence is the file system by which a disk that fails is given up, so that Pebble
// neither panics nor goes on to write.
package fence
