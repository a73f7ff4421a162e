package records

import (
	"cmp"
	"slices"
)

// InTurn returns the places of some records of a key in the order in which they are told
// of where not all can be: one of each who pays for some, then the next of each, and so
// on. Of one's records, and of those whose turn it is, those that their owners have stored
// come first, then the newest. How long a record lives says nothing, as anybody can say it.
// Each of the first so many is of another one who pays.
func InTurn(recs []Record) (order []int, payers int) {
	order = make([]int, 0, len(recs))
	for _, owned := range []bool{true, false} {
		for i := range recs {
			if recs[i].Owned == owned {
				order = append(order, i)
			}
		}
	}
	turns := make([]int, len(recs))
	taken := make(map[string]int)
	for _, i := range order {
		payer := payerOf(recs[i].Source)
		turns[i] = taken[payer]
		taken[payer]++
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(turns[a], turns[b]) })
	return order, len(taken)
}
