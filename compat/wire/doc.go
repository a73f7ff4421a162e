// Package wire turns bytes into Macula messages and back: the 54 message types and
// the MessagePack dialect that Erlang macula v0.20.x nodes speak. It opens no sockets
// and starts no goroutines.
//
// A message is one MessagePack map, the payload of a frame: package framing cuts
// those from a stream. What a Call carries is in package procedures, what a stored value
// must be in values, how the place of a node is written in endpoints. The dialect,
// which package msgpack knows, differs from plain MessagePack in one way that matters:
// an Erlang node reads a str as a list of code points, which equals no text that
// it knows. So every key and every text is sent as bin, and both bin and str are
// accepted. Where an integer is expected, a float without a fraction is one.
//
// Each message names its fields once, in its method fields, which both encoding
// and decoding go by (see fields.Codec in internal/fields): whoever adds a field
// adds it to the struct and a line to that method. Words that travel, such as procedures and
// reasons, are in vocabulary.go. Go values and structs become values of the
// dialect by [Marshal], and back by [Unmarshal].
//
// Decoded messages share memory with the payload that they came from; clone
// what must outlive it. A message that decodes with a [FieldError] holds every
// field that could be read, so that a request can still be answered.
package wire
