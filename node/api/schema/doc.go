// Package schema has what a node's local API says and takes, as JSON: what its server
// (package api), its client and the node that answers share. Names are as in
// docs/openapi.json, which is made of it.
package schema
