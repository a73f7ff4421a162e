package routing

// Stats is what a server holds, apart from its records: for those ask
// [Server.Records].
type Stats struct {
	Contacts int // in the table
	Guests   int // listed, each node once

	Peers    int // of Contacts, libp2p peers; the others are Erlang nodes
	Doubtful int // of Contacts, those that are doubtful ([Contact.Doubtful])
}

// Stats returns the server's gauges. They are read one after the other, so those of a
// busy server need not agree.
func (s *Server) Stats() Stats {
	n, doubtful := s.table.counts()
	return Stats{Contacts: n.all(), Guests: s.guests.len(), Peers: n.peers, Doubtful: doubtful}
}
