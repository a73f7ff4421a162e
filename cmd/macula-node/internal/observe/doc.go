// Package observe shows what goes on in this process: kad-dht's metrics, traces of
// lookups, and profiles.
//
// Kad-dht and the OpenTelemetry SDK can only be told by what is global to a process. So
// that is done here, for the program, and not in package node, of which a process may
// have many.
package observe
