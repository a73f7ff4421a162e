package framing_test

import "github.com/macula-mesh/macula-node/compat/wire/internal/wiretest"

// The forms in which MessagePack may come.
var (
	frame     = wiretest.Frame
	raw       = wiretest.Raw
	join      = wiretest.Join
	fields    = wiretest.Fields
	num       = wiretest.Num
	bin       = wiretest.Bin
	allocated = wiretest.Allocated
)
