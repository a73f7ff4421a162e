// Package api is a node's local API: HTTP and JSON, OpenAPI 3.1 (docs/openapi.json), for the
// commands, the node's page, and whatever else its owner runs on the machine. It is reached
// on a Unix socket in the data directory, and over TCP where that is wanted (package door);
// [Open] serves it, package client asks.
//
// Errors are application/problem+json (RFC 9457). What goes on until its reader leaves is
// text/event-stream, server-sent events.
//
// The package knows a node by the interfaces of [Node] alone.
package api
