package values_test

import "github.com/macula-mesh/macula-node/compat/wire/internal/wiretest"

// The forms in which MessagePack may come.
var (
	fields   = wiretest.Fields
	str      = wiretest.Str
	bin      = wiretest.Bin
	num      = wiretest.Num
	float    = wiretest.Float
	list     = wiretest.List
	raw      = wiretest.Raw
	join     = wiretest.Join
	nest     = wiretest.Nest
	asMap    = wiretest.AsMap
	nilValue = wiretest.Nil
	aBool    = wiretest.Bool
	anExt    = wiretest.Ext
	badText  = wiretest.BadText
)
