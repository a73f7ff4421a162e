package records

// crowd returns which of live, the records of a key, goes for rec, a new one: its place,
// -1 for none where there is room, and len(live) for rec itself.
func (l Limits) crowd(live []Record, rec *Record) int {
	ofSource := func(r *Record) bool { return !r.Owned && r.Source.Name == rec.Source.Name }
	ofGroup := func(r *Record) bool { return r.Source.Group == rec.Source.Group }
	inSource, inGroup := !rec.Source.IsOwn() && !rec.Owned, rec.Source.Group != ""
	switch {
	case inSource && reaches(live, l.ProvidersPerSource, ofSource):
		return firstToGo(live, rec, ofSource)
	case inGroup && reaches(live, l.ProvidersPerGroup, ofGroup):
		return firstToGo(live, rec, ofGroup)
	case len(live) < MaxProviders:
		return -1
	}
	// Of who has most under the key; but what is owned gives way to nothing else.
	may := func(r *Record) bool { return rec.Owned || !r.Owned }
	most := mostOf(live, rec, may)
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
	if a.Owned != b.Owned {
		if b.Owned {
			return -1
		}
		return 1
	}
	return a.Expires.Compare(b.Expires)
}

// mostOf returns who pays for most of the records that may go; of equals who pays for the
// oldest of them, so that nobody goes for one who has as many.
func mostOf(live []Record, rec *Record, may func(*Record) bool) (most string) {
	by := map[string]int{}
	count := func(r *Record) {
		if !may(r) {
			return
		}
		name := payerOf(r.Source)
		by[name]++
		if by[name] >= by[most] {
			most = name
		}
	}
	count(rec)
	for i := range live {
		count(&live[i])
	}
	return most
}
