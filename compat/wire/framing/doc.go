// Package framing cuts Macula's frames from bytes, and puts messages into frames.
//
// A frame is an 8-byte header (version, type, flags, reserved, big-endian payload
// length) and a payload, which is a message of package wire. A [Reader] takes them
// from a stream, with memory for what came and not for what a header promises.
package framing
