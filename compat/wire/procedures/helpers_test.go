package procedures_test

import "github.com/macula-mesh/macula-node/compat/wire/internal/wiretest"

// The forms in which MessagePack may come.
var (
	fields    = wiretest.Fields
	str       = wiretest.Str
	bin       = wiretest.Bin
	num       = wiretest.Num
	list      = wiretest.List
	join      = wiretest.Join
	asMap     = wiretest.AsMap
	allocated = wiretest.Allocated
	nilValue  = wiretest.Nil
	aBool     = wiretest.Bool
	anExt     = wiretest.Ext
	badText   = wiretest.BadText
	nest      = wiretest.Nest
)
