package server

import "github.com/macula-mesh/macula-node/compat/wire/framing"

// memories are what a stream's buffers are reserved from, all of them or none.
type memories []framing.Memory

// memoryOf returns the account of a stream's peer, and the scope of a stream that
// has one.
func memoryOf(stream Stream, s *Session) memories {
	var all memories
	if s.Account != nil {
		all = append(all, s.Account)
	}
	if scope, ok := stream.(framing.Memory); ok {
		all = append(all, scope)
	}
	return all
}

// ReserveMemory implements framing.Memory.
func (m memories) ReserveMemory(size int, prio uint8) error {
	for i, part := range m {
		if err := part.ReserveMemory(size, prio); err != nil {
			m[:i].ReleaseMemory(size)
			return err
		}
	}
	return nil
}

// ReleaseMemory implements framing.Memory.
func (m memories) ReleaseMemory(size int) {
	for _, part := range m {
		part.ReleaseMemory(size)
	}
}
