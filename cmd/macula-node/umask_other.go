//go:build !unix

package main

// keepPrivate: here files have no modes.
func keepPrivate() {}
