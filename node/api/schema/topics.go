package schema

// PublishRequest asks for a payload to be published.
type PublishRequest struct {
	Topic   string `json:"topic"`
	Payload []byte `json:"payload,omitempty" doc:"in base64"`
}

// Published is what was published.
type Published struct {
	Topic string `json:"topic"`
	Value Value  `json:"value"`
}

// Watched is what happened to a record.
type Watched struct {
	Event  string `json:"event" enum:"came,changed,withdrawn,expired"`
	Value  Value  `json:"value"`
	Proved bool   `json:"proved" doc:"to be of the node_id in it"`
	// ExpiresIn is how many seconds the record has left.
	ExpiresIn int64 `json:"expires_in" doc:"seconds that it has left"`
}
