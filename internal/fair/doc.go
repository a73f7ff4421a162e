// Package fair shares a bounded number of places among those who want them, so that
// whoever floods takes them from himself and not from others. What wants a place is told
// apart by its [Payer]: an IP group, in it a source, and whom that speaks for.
//
// A [Queue] is a bounded room of items. Where it is too full the heaviest gives way: in
// the heaviest group the heaviest source, in it the heaviest whom that speaks for; and
// what is taken from it is taken in turn, in the same order. A [Line] begins work so,
// a bounded number at a time, [Once] is work of it that many want, and [Commons] are things
// that many use.
package fair
