package fair

// Commons are things that payers use together, in a bounded number of places. One of those
// who use a thing pays for its place; where that one has too much another of them does,
// and only what nobody else uses gives way. They are for one goroutine at a time.
type Commons[T comparable] struct {
	places *Queue[T]
	things map[T]*common[T]
}

// common is a thing that has a place.
type common[T any] struct {
	place *Item[T]
	payer Payer
	uses  map[Payer]int // how often each uses it now
}

// NewCommons returns places for so many things, 1 or more.
func NewCommons[T comparable](room int) *Commons[T] {
	return &Commons[T]{places: New[T](room, Unlimited), things: make(map[T]*common[T])}
}

// Len returns how many things have a place.
func (c *Commons[T]) Len() int { return len(c.things) }

// handOvers is how many things change who pays for them at one Use: each is looked for
// among all who share it, and those that use too much would have all others wait.
const handOvers = 16

// Use has a payer use a thing once more, which gets a place where it has none. Where there
// are too many it returns the one whose place is gone for it, which may be the same: the
// newest of who pays for most, that nobody with less uses, as far as 16 of them tell.
func (c *Commons[T]) Use(by Payer, thing T) (gone T, gaveWay bool) {
	if in := c.things[thing]; in != nil {
		in.uses[by]++
		return gone, false
	}
	in := &common[T]{payer: by, uses: map[Payer]int{by: 1}}
	in.place = c.places.Add(by, thing, 1)
	c.things[thing] = in
	var had map[use[T]]bool // who had too much with which thing
	for n, out := 0, c.places.GiveWay(in.place, false); out != nil; n, out = n+1, c.places.GiveWay(in.place, false) {
		other := c.things[out.Value]
		if had == nil {
			had = make(map[use[T]]bool)
		}
		had[use[T]{out.Value, other.payer}] = true
		if n >= handOvers || !c.handOver(out.Value, other, had) {
			delete(c.things, out.Value)
			return out.Value, true
		}
	}
	return gone, false
}

type use[T comparable] struct {
	thing T
	by    Payer
}

// Leave ends a use. A thing that nobody uses any more keeps its place, of the last who
// used it, until it is removed.
func (c *Commons[T]) Leave(by Payer, thing T) {
	in := c.things[thing]
	if in == nil || in.uses[by] == 0 { // it gave way
		return
	}
	if in.uses[by]--; in.uses[by] > 0 {
		return
	}
	delete(in.uses, by)
	if in.payer == by && len(in.uses) > 0 {
		c.places.Leave(in.place)
		c.handOver(thing, in, nil)
	}
}

// handOver has another who uses a thing pay for it, as what is the last of it to give way,
// and reports whether there is one, beside those who had too much with it.
func (c *Commons[T]) handOver(thing T, in *common[T], had map[use[T]]bool) bool {
	for by := range in.uses {
		if !had[use[T]{thing, by}] {
			in.payer = by
			in.place = c.places.add(by, thing, 1, true)
			return true
		}
	}
	return false
}

// Remove ends a thing's place.
func (c *Commons[T]) Remove(thing T) {
	if in := c.things[thing]; in != nil {
		c.places.Leave(in.place)
		delete(c.things, thing)
	}
}
