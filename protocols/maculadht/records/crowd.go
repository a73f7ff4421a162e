package records

// maxOwned is how many of the records of a key may be strangers' own: an identity is free,
// so that else those who can prove none, as Erlang nodes, would have no place left.
const maxOwned = MaxProviders * 3 / 4

// crowd returns which of live, the records of a key, goes for rec, a new one: its place,
// -1 for none where there is room, and len(live) for rec itself.
func (l Limits) crowd(live []Record, rec *Record) int {
	ofSource := func(r *Record) bool { return !r.Owned && r.Source.Name == rec.Source.Name }
	ofPayer := func(r *Record) bool { return payerOf(r.Source) == payerOf(rec.Source) }
	strange := !rec.Source.IsOwn()
	switch {
	case strange && !rec.Owned && reaches(live, l.ProvidersPerSource, ofSource):
		return firstToGo(live, rec, ofSource)
	case strange && reaches(live, l.ProvidersPerGroup, ofPayer):
		return firstToGo(live, rec, ofPayer)
	case isStrangersOwn(rec) && reaches(live, maxOwned, isStrangersOwn):
		return ofMost(live, rec, isStrangersOwn)
	case len(live) < MaxProviders:
		return -1
	}
	// What is owned gives way to nothing else.
	return ofMost(live, rec, func(r *Record) bool { return rec.Owned || !r.Owned })
}

func isStrangersOwn(r *Record) bool { return r.Owned && !r.Source.IsOwn() }

// ofMost returns which of those of live and rec that may goes, as [Limits.crowd] does, of
// who pays for most of them; of equals who pays for the oldest of them, so that nobody goes
// for one who has as many.
func ofMost(live []Record, rec *Record, may func(*Record) bool) int {
	by, most := map[string]int{}, ""
	count := func(r *Record) {
		if name := payerOf(r.Source); may(r) {
			if by[name]++; by[name] >= by[most] {
				most = name
			}
		}
	}
	count(rec)
	for i := range live {
		count(&live[i])
	}
	return firstToGo(live, rec, func(r *Record) bool { return may(r) && payerOf(r.Source) == most })
}

// reaches reports whether at least n records are of a kind.
func reaches(recs []Record, n int, isOne func(*Record) bool) bool {
	for i := 0; n > 0 && len(recs)-i >= n; i++ {
		if isOne(&recs[i]) {
			n--
		}
	}
	return n <= 0
}

// firstToGo returns which of those of live and rec that may goes, as [Limits.crowd] does:
// one without owner before others, the soonest to expire, and of equals the oldest, which
// is the last.
func firstToGo(live []Record, rec *Record, may func(*Record) bool) int {
	at, first := len(live), rec
	if !may(rec) {
		first = nil
	}
	for i := range live {
		r := &live[i]
		if may(r) && (first == nil || goes(r, first) <= 0) {
			at, first = i, r
		}
	}
	return at
}

// goes compares two records of a key by which goes first.
func goes(a, b *Record) int {
	switch {
	case a.Owned == b.Owned:
		return a.Expires.Compare(b.Expires)
	case b.Owned:
		return -1
	}
	return 1
}
