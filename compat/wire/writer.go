package wire

import "io"

// Writer gathers frames and writes them whole: a Write of the destination never
// ends within a frame.
type Writer struct {
	dst io.Writer
	buf []byte
}

// NewWriter returns a Writer to dst.
func NewWriter(dst io.Writer) *Writer { return &Writer{dst: dst} }

// Append adds m to what the next Flush writes. It fails with ErrTooLarge and
// adds nothing where the payload would pass MaxPayload.
func (w *Writer) Append(m Message) error {
	b, err := AppendFrame(w.buf, m)
	if err == nil { // else it grew for nothing
		w.buf = b
	}
	return err
}

// Buffered returns how many bytes wait for Flush.
func (w *Writer) Buffered() int { return len(w.buf) }

// Flush writes all that is gathered in one Write. After an error the stream is
// of no more use: a part of the frames may have left.
func (w *Writer) Flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	_, err := w.dst.Write(w.buf)
	if cap(w.buf) > shrinkBuffer {
		w.buf = nil
	} else {
		w.buf = w.buf[:0]
	}
	return err
}
