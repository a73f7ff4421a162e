package maculadht

import (
	"context"
	"fmt"
	"slices"

	"github.com/libp2p/go-libp2p/core/host"

	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// Mode is whether a Service answers its peers.
type Mode int

const (
	// ModeServer answers peers and is listed by them.
	ModeServer Mode = iota
	// ModeClient asks and advertises, but answers nobody: the protocol is not on
	// the host, so identify tells everyone and nobody lists it. It is for a node
	// that others can not reach.
	ModeClient
)

func (m Mode) String() string {
	if m == ModeClient {
		return "client"
	}
	return "server"
}

// WithMode sets the mode that the service starts in, ModeServer without it.
func WithMode(m Mode) Option {
	return func(c *serviceConfig) error {
		if m != ModeServer && m != ModeClient {
			return fmt.Errorf("mode %d: want ModeServer or ModeClient", m)
		}
		c.mode = m
		return nil
	}
}

// Mode returns the service's mode. A closed one is a client.
func (s *Service) Mode() Mode {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mode
}

// SetMode makes the service a server or a client; identify tells the connected
// peers. When it becomes a client the streams that it serves are reset with
// ResetShutdown, so that their peers ask others. Its contacts and values stay.
// It does nothing once the service is closed. It fails with ErrServed where another
// serves the protocol on the host.
func (s *Service) SetMode(m Mode) error {
	s.switching.Lock()
	defer s.switching.Unlock()
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return nil
	}
	return s.switchTo(m)
}

// switchTo puts the handler on the host or takes it off; s.switching is held.
// What asks on a stream that is reset finds the protocol gone when it asks once
// more, hence the order.
func (s *Service) switchTo(m Mode) error {
	s.mu.Lock()
	if m == s.mode {
		s.mu.Unlock()
		return nil
	}
	if m == ModeServer && isServed(s.host) {
		s.mu.Unlock()
		return ErrServed
	}
	s.mode = m
	stop := s.stopServing
	if m == ModeServer {
		s.serving, s.stopServing = context.WithCancel(s.ctx)
	}
	s.mu.Unlock()
	if m == ModeServer {
		s.host.SetStreamHandler(proto.ProtocolID, s.serve)
		return nil
	}
	s.host.RemoveStreamHandler(proto.ProtocolID)
	stop()
	return nil
}

// isServed reports whether the protocol is on a host.
func isServed(h host.Host) bool { return slices.Contains(h.Mux().Protocols(), proto.ProtocolID) }
