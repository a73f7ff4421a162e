package routing

// Stats is what a server holds, apart from its records: for those ask
// [Server.Records].
type Stats struct {
	Contacts int // in the table
	Guests   int // listed, each node once
}

// Stats returns the server's gauges. They are read one after the other, so those of a
// busy server need not agree.
func (s *Server) Stats() Stats {
	return Stats{Contacts: s.table.Len(), Guests: s.guests.len()}
}
