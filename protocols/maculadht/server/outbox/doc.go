// Package outbox holds what waits to be written to one peer, and writes it.
//
// Answers leave in the order of what they answer. One that comes later keeps its
// place in a [Slot]; those behind it wait. What answers nothing is pushed between.
// A peer that does not take what is written can neither make the outbox grow nor
// hold up who pushes: all is bounded, and reserved from the peer's account before
// it is kept.
package outbox
