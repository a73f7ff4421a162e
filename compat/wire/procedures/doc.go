// Package procedures is what Calls of the DHT's procedures carry: the arguments and the
// results of wire.ProcedureStore, wire.ProcedureListGateways and
// wire.ProcedurePeerInfo.
package procedures
