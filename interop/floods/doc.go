// Package floods attacks a node with connections, handshakes, streams and half frames, from
// many addresses of loopback, and measures what honest clients of both protocols see
// meanwhile: calm and attacked in one run. Each attack has a short form against a node with
// little room, within the test; with -floods.long it is the built program with its defaults,
// and the whole attack:
//
//	go test ./interop/floods -floods.long -v -run TestIdleConnections
//
// Loopback addresses are in no IP group, so that each is one of its own; 127.x.y.z stands
// for a network.
package floods
