//go:build cgo

package pebble

// withoutCgo says that Pebble's memtables and cache are on Go's heap.
const withoutCgo = false
