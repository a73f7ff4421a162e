package maculadht

import (
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/replication"
)

// What a Service's methods fail with, for errors.Is; they are the errors of the
// packages below.
var (
	// ErrNotFound: nothing is stored under the key, here and where it was asked.
	ErrNotFound = records.ErrNotFound
	// ErrNoReplicas: nobody was found who keeps the value, or would take it.
	ErrNoReplicas = replication.ErrNoReplicas
	// ErrInvalidRequest: what was asked for can not be, so nothing was sent.
	ErrInvalidRequest = proto.ErrInvalidRequest
	// ErrUnreachable: no answer could be had.
	ErrUnreachable = proto.ErrUnreachable
	// ErrRefused: the peer, or this node, would not talk.
	ErrRefused = proto.ErrRefused
	// ErrRemote: the peer answered with an error.
	ErrRemote = proto.ErrRemote
	// ErrClosed: the service is closed.
	ErrClosed = proto.ErrClosed
)
