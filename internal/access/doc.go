// Package access says who may come: by an allow list and a deny list of peer ids and
// address ranges, which are files of an operator's.
package access
