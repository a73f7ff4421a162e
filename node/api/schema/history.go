package schema

import "time"

// History is what a node did lately, the oldest first.
type History struct {
	Every   float64  `json:"every" doc:"seconds from one sample to the next"`
	Samples []Sample `json:"samples"`
}

// Sample is what happened since the sample before, or since the start, and what there was then.
type Sample struct {
	Time    time.Time `json:"time"`
	Seconds float64   `json:"seconds" doc:"that it covers"`

	Requests  uint64 `json:"requests" doc:"frames of other nodes that were read"`
	Stored    uint64 `json:"stored" doc:"records that are new, or took another's place"`
	Published uint64 `json:"published" doc:"messages that were published here"`
	Received  uint64 `json:"received" doc:"messages of other nodes"`
	Delivered uint64 `json:"delivered" doc:"copies that subscribers here were handed"`
	Calls     uint64 `json:"calls" doc:"of procedures, whoever called"`

	Refused  uint64 `json:"refused" doc:"connections and requests that were refused, or gave way to others"`
	Unstored uint64 `json:"unstored" doc:"records that were refused"`
	Dropped  uint64 `json:"dropped" doc:"messages that were not delivered, or could not be sent"`
	Failed   uint64 `json:"failed" doc:"calls that ended with an error, late, or as too many were under way"`

	Peers    int   `json:"peers" doc:"libp2p peers that there was a connection to"`
	Contacts int   `json:"contacts" doc:"in the table"`
	Records  int64 `json:"records" doc:"that were kept"`
}
