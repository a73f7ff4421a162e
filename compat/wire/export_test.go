package wire

// WriterCap tells tests how much memory w holds.
func WriterCap(w *Writer) int { return cap(w.buf) }
