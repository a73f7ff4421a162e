// Package soak runs nodes for long under a mixed load, and watches what they hold: memory,
// descriptors and threads of five processes of the built program, goroutines and the live
// heap of five nodes within the test. What grows after the first third of the time is a
// leak. It writes a table and a plot:
//
//	go test ./interop/soak -run 'TestSoak$' -soak 30m -soak.out "$PWD/docs" -timeout 1h -v
package soak
