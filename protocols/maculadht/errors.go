package maculadht

import (
	"errors"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// Errors of this package. Those of a peer are routing.ErrUnreachable,
// routing.ErrRefused and routing.ErrRemote.
var (
	// ErrNotFound: nothing is stored under the key.
	ErrNotFound = records.ErrNotFound
	// ErrNoEndpoint: a node is given by nothing that could be dialled.
	ErrNoEndpoint = errors.New("node has neither endpoint, address nor peer id")
	// ErrNoConnection: there is no session with a bootstrap gateway.
	ErrNoConnection = errors.New("no connection to a bootstrap gateway")
	// ErrNoNetwork: the handlers were given no network to ask through.
	ErrNoNetwork = errors.New("no network")
	// ErrInvalidRequest: a message that the peer could only refuse was not
	// sent.
	ErrInvalidRequest = errors.New("invalid request")
	// ErrClosed: the service or client is closed.
	ErrClosed = errors.New("closed")
)
