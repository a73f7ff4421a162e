package server

// PerPeer is what a handler keeps of each peer: a *T that is made at its first use
// on a stream, and goes with the stream. What must be told of the end says so by
// [Peer.OnEnd].
type PerPeer[T any] struct{ begin func(*Peer) *T }

// NewPerPeer returns what is kept of each peer, as begin makes it.
func NewPerPeer[T any](begin func(*Peer) *T) *PerPeer[T] { return &PerPeer[T]{begin} }

// Of returns what is kept of a peer. It is for the goroutine that reads.
func (k *PerPeer[T]) Of(p *Peer) *T {
	for i := range p.kinds {
		if p.kinds[i].of == k {
			return p.kinds[i].value.(*T)
		}
	}
	value := k.begin(p)
	p.kinds = append(p.kinds, kind{of: k, value: value})
	return value
}

// kind is what one kind of handlers keeps of a peer.
type kind struct{ of, value any }
