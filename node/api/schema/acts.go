package schema

// BackupRequest asks for a copy of the data directory.
type BackupRequest struct {
	Dir string `json:"dir" doc:"an absolute path at which nothing is yet"`
}

// Backup is a copy that was made.
type Backup struct {
	Dir     string `json:"dir"`
	Files   int    `json:"files"`
	Bytes   int64  `json:"bytes"`
	Key     bool   `json:"key" doc:"the identity key is in it"`
	Records bool   `json:"records" doc:"records are in it, and not the identity alone"`
	Unread  bool   `json:"unread" doc:"they are of a store that the node which runs there leaves alone"`
}

// BanRequest keeps somebody away, or lets them come again.
type BanRequest struct {
	Entry string `json:"entry" minLength:"1" maxLength:"200" doc:"a peer id, an address or an address range"`
}

// Ban is what came of it.
type Ban struct {
	Entry   string `json:"entry"`
	Changed bool   `json:"changed" doc:"it was not so before"`
	Kept    bool   `json:"kept" doc:"it holds after a restart too"`
	Closed  int    `json:"closed" doc:"connections that were closed for it"`
	// Why says why it holds for this run alone.
	Why string `json:"why,omitempty"`
}

// Bans are the entries of the deny list.
type Bans struct {
	File    string   `json:"file,omitempty" doc:"of the deny list; absent where there is none"`
	Entries []string `json:"entries" doc:"that hold"`
}
