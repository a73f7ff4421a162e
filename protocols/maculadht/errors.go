package maculadht

import (
	"errors"

	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/publication"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/replication"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

// What a Service's methods fail with, for errors.Is; they are the errors of the
// packages below.
var (
	// ErrNotFound: nothing is stored under the key, here and where it was asked;
	// somebody has answered.
	ErrNotFound = records.ErrNotFound
	// ErrNoPeers: no other node is known, so nobody was asked.
	ErrNoPeers = lookup.ErrNoPeers
	// ErrUnanswered: of those that were asked nobody answered.
	ErrUnanswered = lookup.ErrUnanswered
	// ErrNoReplicas: nobody was found who keeps the value, or would take it.
	ErrNoReplicas = replication.ErrNoReplicas
	// ErrNotKept: this node's own store did not take a value; with it is why.
	ErrNotKept = publication.ErrNotKept
	// ErrAdvertised: this node advertises another value under the key for the same
	// provider; see [publication.ErrAdvertised].
	ErrAdvertised = publication.ErrAdvertised
	// ErrNotSaved: the state did not take an advertisement, or did not give it up; see
	// [publication.ErrNotSaved].
	ErrNotSaved = publication.ErrNotSaved
	// ErrInvalidRequest: what was asked for can not be, so nothing was sent.
	ErrInvalidRequest = proto.ErrInvalidRequest
	// ErrUnreachable: no answer could be had.
	ErrUnreachable = proto.ErrUnreachable
	// ErrRefused: the peer, or this node, would not talk.
	ErrRefused = proto.ErrRefused
	// ErrRealmMismatch: the peer serves another realm. It is an ErrRefused.
	ErrRealmMismatch = proto.ErrRealmMismatch
	// ErrRemote: the peer answered with an error.
	ErrRemote = proto.ErrRemote
	// ErrClosed: the service is closed.
	ErrClosed = proto.ErrClosed
)

// ErrServed: another service serves the protocol on the host.
var ErrServed = errors.New("the host has a service of the protocol already")
