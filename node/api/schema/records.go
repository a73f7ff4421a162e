package schema

import "time"

// Key is a page's key, and what is under it.
type Key struct {
	Key       string    `json:"key" doc:"in hexadecimal"`
	Records   int       `json:"records"`
	Withdrawn int       `json:"withdrawn,omitempty" doc:"proofs that a provider has withdrawn its record"`
	Expires   time.Time `json:"expires" doc:"when the last of them ends"`
}

// Keys is a page of the keys that a node keeps.
type Keys struct {
	Keys []Key  `json:"keys"`
	Next string `json:"next,omitempty" doc:"the cursor of the next page; absent where there is none"`
}

// Record is one provider's value under a key.
type Record struct {
	Value     Value     `json:"value"`
	NodeID    string    `json:"node_id,omitempty" doc:"the provider that the value names, in hexadecimal"`
	Proved    bool      `json:"proved" doc:"it is proved to be of that provider"`
	Owned     bool      `json:"owned" doc:"only its provider may replace it"`
	Source    string    `json:"source" doc:"who pays for it: a peer id, an address, or this node"`
	Sealed    time.Time `json:"sealed,omitzero" doc:"when its provider has sealed it, by that one's clock"`
	Expires   time.Time `json:"expires"`
	ExpiresIn int64     `json:"expires_in" doc:"seconds"`
}

// Stored is what a node has under one key, and who else should have it.
type Stored struct {
	Key     string   `json:"key"`
	Records []Record `json:"records"`
	// Withdrawn are the proofs that a provider has withdrawn its record.
	Withdrawn []Record `json:"withdrawn"`
	// Changed is when the records of the key last changed, in this run of the node.
	Changed *time.Time `json:"changed,omitempty" doc:"when the records of the key last changed here, since the node's start; absent where they have not, or many others have since"`
	// Nearest are the contacts nearest to the key that this node knows.
	Nearest []Contact `json:"nearest"`
	// Near is whether this node itself is among those that should have it.
	Near bool `json:"near" doc:"fewer than 20 contacts that are known are nearer to the key than this node"`
}

// PutRequest asks for a value to be stored.
type PutRequest struct {
	Key       string `json:"key" doc:"in hexadecimal" minLength:"2" maxLength:"510"`
	Value     Value  `json:"value" doc:"a JSON object"`
	TTL       int64  `json:"ttl,omitempty" minimum:"1" maximum:"86400" doc:"seconds, in the place of the value's ttl"`
	Replicate bool   `json:"replicate,omitempty" doc:"on the nodes nearest to the key too"`
}

// Put is what came of it.
type Put struct {
	Key          string `json:"key"`
	TTL          int64  `json:"ttl" doc:"seconds"`
	Acknowledged int    `json:"acknowledged" doc:"other nodes that keep it"`
	Sent         int    `json:"sent" doc:"Erlang nodes that it was sent to, which never answer"`
	Failed       int    `json:"failed" doc:"other nodes that did not take it"`
	Lookup       []Hop  `json:"lookup,omitempty" doc:"by which they were found"`
}

// AdvertiseRequest asks for a value to be published again and again until it is withdrawn:
// a service by its name, or any value under a key.
type AdvertiseRequest struct {
	Service  string `json:"service,omitempty" maxLength:"255" doc:"the name of a service; in the place of a key"`
	Endpoint string `json:"endpoint,omitempty" maxLength:"255" doc:"of the service, such as https://host:port"`
	Metadata Value  `json:"metadata,omitzero" doc:"of the service, an object"`
	Key      string `json:"key,omitempty" maxLength:"510" doc:"in hexadecimal"`
	Value    Value  `json:"value,omitzero" doc:"under the key, an object"`
	TTL      int64  `json:"ttl,omitempty" minimum:"1" maximum:"86400" doc:"seconds that a copy lives"`
}

// Advertisement is a record that is published again and again.
type Advertisement struct {
	Key       string    `json:"key"`
	Service   string    `json:"service,omitempty"`
	Value     Value     `json:"value"`
	Since     time.Time `json:"since"`
	Saved     bool      `json:"saved" doc:"it goes on after a restart"`
	Copies    int       `json:"copies" doc:"other nodes that took it when it was last published"`
	Published bool      `json:"published" doc:"it was published at least once"`
	Error     string    `json:"error,omitempty" doc:"what went wrong when it was last published"`
}

// Advertisements are all of a node's, those first that were first advertised.
type Advertisements struct {
	Advertisements []Advertisement `json:"advertisements"`
}

// WithdrawRequest ends the advertisements under a key.
type WithdrawRequest struct {
	Key string `json:"key" doc:"in hexadecimal" minLength:"2" maxLength:"510"`
}

// Withdrawn is how many were ended.
type Withdrawn struct {
	Key       string `json:"key"`
	Withdrawn int    `json:"withdrawn"`
}
