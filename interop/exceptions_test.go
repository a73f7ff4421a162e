package interop

// exception is an exchange in which our node does not do what the reference did.
type exception struct {
	why     string
	want    outcome
	finish  bool // we end our side after the last write, as the recorder did, or to not wait for a time-out
	poll    bool // until it is so
	mayLose bool // the replies before a reset may be lost with the stream
}

// exceptions are all the exchanges in which our node differs, by name.
var exceptions = map[string]exception{
	// We read str where the reference can not.
	"ping [str]":                                  {why: "keys in str are read", want: said(pong(int64(1700000000123)))},
	"ping [keys-str/vals-bin]":                    {why: "keys in str are read", want: said(pong(int64(1700000000123)))},
	"connect ok realm [str]":                      {why: "str is read, the reference crashed", want: said(welcome)},
	"connect ok realm [keys-bin/vals-str]":        {why: "str is read, the reference hung", want: said(welcome)},
	"connect ok realm [keys-str/vals-bin]":        {why: "keys in str are read, the reference crashed", want: said(welcome)},
	"call _dht.list_gateways [str]":               {why: "str is read, the reference crashed", want: said(peers(own))},
	"call _dht.list_gateways [keys-bin/vals-str]": {why: "a procedure in str is read", want: said(peers(own))},
	"call _dht.list_gateways [keys-str/vals-bin]": {why: "keys in str are read, the reference crashed", want: said(peers(own))},
	"call _dht.store [str]":                       {why: "str is read, the reference crashed", want: said(storeOK)},
	"call _dht.store [keys-bin/vals-str]":         {why: "a procedure in str is read", want: said(storeOK)},
	"call _dht.store [keys-str/vals-bin]":         {why: "keys in str are read, the reference crashed", want: said(storeOK)},
	"nat_probe [str]":                             {why: "a request_id under a key in str comes back", want: said(natProbed)},
	"nat_probe [keys-str/vals-bin]":               {why: "a request_id under a key in str comes back", want: said(natProbed)},
	"find_node with type [str]":                   {why: "str is read", want: said(noNodes)},
	"find_node with type [keys-bin/vals-str]":     {why: "str is read", want: said(noNodes)},
	"find_node with type [keys-str/vals-bin]":     {why: "keys in str are read", want: said(noNodes)},
	"find_node without type [str]":                {why: "type is optional, and str is read", want: said(noNodes)},
	"find_value existing key [str]":               {why: "keys in str are read", want: said(values(provider))},
	"find_value existing key [keys-str/vals-bin]": {why: "keys in str are read", want: said(values(provider))},

	// We do without type.
	"find_node without type [bin]":          {why: "type is optional", want: said(noNodes)},
	"find_value after typeless store [bin]": {why: "a STORE without type is taken", want: said(values(obj{"node_id": provider["node_id"]}))},

	// What crashes or hangs the reference is answered.
	"connect wrong realm [bin]": {why: "the reference hung", want: outcome{
		Replies: []message{{tDisconnect, obj{
			"reason":  bin("realm_mismatch"),
			"message": bin(`This node serves the realm "be.cortexiq.test", not "other.realm"`),
		}}},
		End: "refused realm_mismatch",
	}},
	"connect minimal (no endpoint, no capabilities) [bin]": {why: "the reference crashed", want: said(welcome)},
	"connect: endpoint nil (msgpack nil) [bin]":            {why: "the reference crashed", want: said(welcome)},
	"find_node without target [bin]": {why: "the reference crashed",
		want: said(message{tFindNodeReply, obj{"type": bin("error"), "reason": bin("missing_target")}})},
	"call _dht.store with args as JSON text (str like rpc client sends) [bin]": {why: "the reference crashed",
		want: said(message{tReply, obj{"call_id": bin("0123456789abcdef"), "error": obj{
			"code": bin("invalid_args"), "message": bin("Invalid parameter: args: bin instead of a map")}}})},
	"payload is an integer, ping": {why: "the reference crashed", want: outcome{End: "reset 4"}},
	"payload is array, ping":      {why: "the reference crashed", want: outcome{End: "reset 4"}},
	"payload is nil, find_value":  {why: "the reference crashed", want: outcome{End: "reset 4"}},

	// We store otherwise.
	"find value without node_id [bin]":       {why: "a service's record without node_id crashes who calls it, so it is told to libp2p peers alone", want: said(noValue)},
	"find value with ttl 1 after 1.5s [bin]": {why: "ttl is kept", want: said(noValue), poll: true},
	"find upsert key still there? (state lost?) [bin]": {why: "the reference had crashed and lost its store",
		want: said(values(obj{"node_id": providerB, "n": int64(3)}, obj{"node_id": provider["node_id"], "n": int64(4)}))},
	"find_value wide read back [bin]": {why: "lists are kept as they came, the reference makes text of them", want: said(values(obj{
		"node_id": bin("\x67\x6b\x8b\xb8\x4c\xe7\x26\x7d\xd5\x20\xde\xca\x48\x11\xc8\xf1\x0a\x53\xe6\x36\x35\x2f\x06\x98\x7f\x42\xfe\x42\x5a\xce\xdd\x80"),
		"arr":     []any{int64(1), int64(2), int64(3)}, "ports": []any{int64(9443), int64(9444)}, "strs": []any{bin("a"), bin("b")},
		"empty": []any{}, "emptymap": obj{}, "emptybin": bin(""), "emptystr": str(""), "s": str("héllo"),
		"f": 1.5, "nil": nil, "t": true, "neg": int64(-5), "big": uint64(1 << 63),
	}))},

	// We name ourselves among the gateways, on a stream that has not CONNECTed, and
	// believe no list that anybody may write.
	"call _dht.list_gateways [bin]":          {why: "our own entry is there", want: said(peers(own))},
	"call _dht.list_gateways after it [bin]": {why: "our own entry is there, and nothing that anybody stored", want: said(peers(own))},

	// Erlang nodes that know each other stall and crash each other.
	"find_node after variants [bin]": {why: "who only CONNECTed is named to nobody", want: said(noNodes)},

	// We cut frames from a stream of bytes.
	"frame split over two writes (mid-payload), pause 300ms": {why: "a frame is put together", want: said(pong(int64(1)))},
	"frame split: header | payload":                          {why: "a frame is put together", want: said(pong(int64(1)))},
	"frame split inside header":                              {why: "a frame is put together", want: said(pong(int64(1)))},
	"two frames in one write":                                {why: "both are answered", want: said(pong(int64(1)), pong(int64(2)))},
	"frame + FIN (half close)": {why: "our side is closed after it, the reference never does that", finish: true,
		want: outcome{Replies: []message{pong(int64(1))}, End: "closed"}},
	"frame + trailing junk in same write": {why: "the junk is no frame of version 1", mayLose: true,
		want: outcome{Replies: []message{pong(int64(1))}, End: "reset 1"}},
	"truncated frame (header says more)":   {why: "it is broken when the stream ends within it", finish: true, want: outcome{End: "reset 3"}},
	"short header (5 bytes)":               {why: "it is broken when the stream ends within it", finish: true, want: outcome{End: "reset 3"}},
	"bad version 2":                        {why: "framing is lost, so the stream is reset", want: outcome{End: "reset 1"}},
	"bad version 0":                        {why: "framing is lost, so the stream is reset", want: outcome{End: "reset 1"}},
	"zero length payload":                  {why: "broken MessagePack resets the stream", want: outcome{End: "reset 3"}},
	"msgpack garbage c1":                   {why: "broken MessagePack resets the stream", want: outcome{End: "reset 3"}},
	"msgpack trailing byte inside payload": {why: "broken MessagePack resets the stream", want: outcome{End: "reset 3"}},
}

// obj is a map as it is read.
type obj = map[string]any

// What the table is made of.
var (
	welcome = message{tPong, obj{"timestamp": theTime, "server_time": theTime, "node_id": theID, "endpoint": theEndpoint}}

	storeOK = message{tReply, obj{"call_id": bin("0123456789abcdef"), "result": obj{"status": bin("ok")}}}

	natProbed = message{tNATProbeReply, obj{"node_id": theID, "request_id": bin("reqid-0000000001"),
		"reflexive_ip": bin("127.0.0.1"), "reflexive_port": clientPort, "server_time": theTime}}

	noNodes = message{tFindNodeReply, obj{"type": bin("find_node_reply"), "nodes": []any{}}}
	noValue = message{tFindValueReply, obj{"type": bin("find_value_reply"), "result": bin("nodes"), "nodes": []any{}}}

	own = obj{"node_id": theID, "host": bin("127.0.0.1"), "port": thePort, "realm": bin(testRealm)}

	provider = obj{
		"node_id":  bin("\xd3\x81\x0d\xbf\x81\x21\xdd\xa2\x96\xa9\x60\x28\x69\x06\xad\xa9\xee\x55\xc1\x89\x40\x3e\x20\x58\x35\x23\xb3\xab\x0b\x80\x3a\xef"),
		"endpoint": bin("https://127.0.0.1:9601"),
		"n":        int64(1),
	}
	providerB = bin("\xfb\x2e\xae\xab\xaa\x22\x3b\xc2\xbd\xac\xa2\x26\x2d\x6d\x56\x14\xae\x7d\xeb\xc2\xc1\x3f\xcd\xab\xb2\xf8\x92\x8b\x7d\xd1\xc0\x9b")
)

// said is the outcome of replies on a stream that goes on.
func said(replies ...message) outcome { return outcome{Replies: replies, End: "open"} }

func pong(timestamp any) message {
	return message{tPong, obj{"timestamp": timestamp, "server_time": theTime}}
}

func peers(entries ...any) message {
	return message{tReply, obj{"call_id": bin("0123456789abcdef"), "result": obj{"peers": entries}}}
}

func values(list ...any) message {
	return message{tFindValueReply, obj{"type": bin("find_value_reply"), "result": bin("value"), "value": list}}
}
