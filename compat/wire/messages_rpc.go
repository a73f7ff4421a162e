package wire

// Procedures of the DHT that are asked for by Call.
const (
	ProcedureStore        = "_dht.store"
	ProcedureListGateways = "_dht.list_gateways"
)

// Codes of errors in replies to Call.
const (
	CodeInvalidArgs   = "invalid_args"
	CodeBootstrapOnly = "gateway_bootstrap_only"
	CodeBusy          = "busy"
	CodeNotOwner      = "not_owner"
)

// Call asks for a procedure.
type Call struct {
	Procedure string
	Args      Raw    // a map, or the text "{}"
	CallID    []byte // 16 bytes; comes back in the Reply
	Realm     string
	Timeout   Opt[int64] // ms
}

// Type returns TypeCall.
func (*Call) Type() Type { return TypeCall }

// AppendPayload implements Message.
func (m *Call) AppendPayload(b []byte) []byte {
	p := beginPayload(b)
	p.text("procedure", m.Procedure)
	p.raw("args", m.Args)
	p.bytes("call_id", m.CallID)
	p.optText("realm", m.Realm)
	p.optInt("timeout", m.Timeout)
	return p.b
}

// Decode reads the message from a payload, whose memory it shares. It needs
// procedure.
func (m *Call) Decode(b []byte) error {
	*m = Call{}
	f := readFields(TypeCall, b)
	for f.next() {
		switch string(f.key) {
		case "procedure":
			m.Procedure = f.text(MaxField)
		case "args":
			m.Args = f.raw()
		case "call_id":
			m.CallID = f.bytes(MaxField)
		case "realm":
			m.Realm = f.text(MaxField)
		case "timeout":
			m.Timeout = f.int()
		default:
			f.skip()
		}
	}
	f.need("procedure", m.Procedure != "")
	return f.done()
}

// Reply answers Call, with Result or Error.
type Reply struct {
	CallID []byte
	Result Raw
	Error  *CallError
}

// CallError is the error of a Reply: a map of both fields on the wire, or, as
// some answers of the reference have it, the text of Message alone.
type CallError struct {
	Code    string // a word, such as CodeInvalidArgs
	Message string // for people
}

func (e *CallError) Error() string {
	if e.Code == "" {
		return e.Message
	}
	return e.Code + ": " + e.Message
}

// Type returns TypeReply.
func (*Reply) Type() Type { return TypeReply }

// AppendPayload implements Message.
func (m *Reply) AppendPayload(b []byte) []byte {
	p := beginPayload(b)
	p.bytes("call_id", m.CallID)
	switch {
	case m.Error == nil:
		p.raw("result", m.Result)
	case m.Error.Code == "":
		p.text("error", m.Error.Message)
	default:
		p.key("error")
		sub := beginPayload(p.b)
		sub.text("code", m.Error.Code)
		sub.text("message", m.Error.Message)
		p.b = sub.b
	}
	return p.b
}

// Decode reads the message from a payload, whose memory it shares. It needs
// result or error.
func (m *Reply) Decode(b []byte) error {
	*m = Reply{}
	f := readFields(TypeReply, b)
	for f.next() {
		switch string(f.key) {
		case "call_id":
			m.CallID = f.bytes(MaxField)
		case "result":
			m.Result = f.raw()
		case "error":
			m.Error = f.callError()
		default:
			f.skip()
		}
	}
	f.need("result", m.Result != nil || m.Error != nil)
	return f.done()
}

func (f *fields) callError() *CallError {
	v := f.take(readable)
	if f.err != nil || v.Kind() == Nil {
		return nil
	}
	if text, ok := v.Bytes(); ok {
		return &CallError{Message: string(text)}
	}
	e := &CallError{}
	sub := readFields(f.typ, v)
	for sub.next() {
		switch string(sub.key) {
		case "code":
			e.Code = sub.text(MaxField)
		case "message":
			e.Message = sub.text(MaxPayload)
		default:
			sub.skip()
		}
	}
	if err := sub.done(); err != nil {
		f.note("error", err.Error(), ErrMistypedField)
	}
	return e
}

// Cast is a Call without an answer.
type Cast struct {
	Procedure string
	Args      Raw
}

// Type returns TypeCast.
func (*Cast) Type() Type { return TypeCast }

// AppendPayload implements Message.
func (m *Cast) AppendPayload(b []byte) []byte {
	p := beginPayload(b)
	p.text("procedure", m.Procedure)
	p.raw("args", m.Args)
	return p.b
}

// Decode reads the message from a payload, whose memory it shares. It needs
// procedure.
func (m *Cast) Decode(b []byte) error {
	*m = Cast{}
	f := readFields(TypeCast, b)
	for f.next() {
		switch string(f.key) {
		case "procedure":
			m.Procedure = f.text(MaxField)
		case "args":
			m.Args = f.raw()
		default:
			f.skip()
		}
	}
	f.need("procedure", m.Procedure != "")
	return f.done()
}

// RPCRequest asks a node for a procedure, to be answered by RPCReply.
type RPCRequest struct {
	RequestID    []byte // 16 bytes; comes back in the reply
	Procedure    string
	Args         Raw
	FromNode     []byte
	TargetNode   []byte // where it is to be passed on to; nil for the receiver
	FromEndpoint string
	Timestamp    Opt[int64] // ms since 1970
}

// Type returns TypeRPCRequest.
func (*RPCRequest) Type() Type { return TypeRPCRequest }

// AppendPayload implements Message.
func (m *RPCRequest) AppendPayload(b []byte) []byte {
	p := beginPayload(b)
	p.bytes("request_id", m.RequestID)
	p.text("procedure", m.Procedure)
	p.raw("args", m.Args)
	p.bytes("from_node", m.FromNode)
	p.bytes("target_node", m.TargetNode)
	p.optText("from_endpoint", m.FromEndpoint)
	p.optInt("timestamp", m.Timestamp)
	return p.b
}

// Decode reads the message from a payload, whose memory it shares. It needs
// procedure.
func (m *RPCRequest) Decode(b []byte) error {
	*m = RPCRequest{}
	f := readFields(TypeRPCRequest, b)
	for f.next() {
		switch string(f.key) {
		case "request_id":
			m.RequestID = f.bytes(MaxField)
		case "procedure":
			m.Procedure = f.text(MaxField)
		case "args":
			m.Args = f.raw()
		case "from_node":
			m.FromNode = f.bytes(MaxField)
		case "target_node":
			m.TargetNode = f.bytes(MaxField)
		case "from_endpoint":
			m.FromEndpoint = f.text(MaxField)
		case "timestamp":
			m.Timestamp = f.int()
		default:
			f.skip()
		}
	}
	f.need("procedure", m.Procedure != "")
	return f.done()
}

// RPCReply answers RPCRequest, with Result or Error.
type RPCReply struct {
	RequestID []byte
	FromNode  []byte // the answering node's id
	Result    Raw
	Error     string     // such as "rpc_handler_not_available"; empty for a result
	Timestamp Opt[int64] // ms since 1970
}

// Type returns TypeRPCReply.
func (*RPCReply) Type() Type { return TypeRPCReply }

// AppendPayload implements Message.
func (m *RPCReply) AppendPayload(b []byte) []byte {
	p := beginPayload(b)
	p.bytes("request_id", m.RequestID)
	p.bytes("from_node", m.FromNode)
	p.raw("result", m.Result)
	p.optText("error", m.Error)
	p.optInt("timestamp", m.Timestamp)
	return p.b
}

// Decode reads the message from a payload, whose memory it shares.
func (m *RPCReply) Decode(b []byte) error {
	*m = RPCReply{}
	f := readFields(TypeRPCReply, b)
	for f.next() {
		switch string(f.key) {
		case "request_id":
			m.RequestID = f.bytes(MaxField)
		case "from_node":
			m.FromNode = f.bytes(MaxField)
		case "result":
			m.Result = f.raw()
		case "error":
			m.Error = f.text(MaxPayload)
		case "timestamp":
			m.Timestamp = f.int()
		default:
			f.skip()
		}
	}
	return f.done()
}

// Route is the envelope in which an Erlang mesh passes a message on.
type Route struct {
	Destination []byte // node id
	Source      []byte // node id
	HopCount    int64
	MaxHops     int64
	Payload     Raw // the message's map
}

func (r *Route) append(p *payload) {
	p.bytes("destination_node_id", r.Destination)
	p.bytes("source_node_id", r.Source)
	p.int("hop_count", r.HopCount)
	p.int("max_hops", r.MaxHops)
	p.raw("payload", r.Payload)
}

// take reads the field that f stands at, if it is one of the envelope's.
func (r *Route) take(f *fields) bool {
	switch string(f.key) {
	case "destination_node_id":
		r.Destination = f.bytes(MaxField)
	case "source_node_id":
		r.Source = f.bytes(MaxField)
	case "hop_count":
		r.HopCount = f.int().V
	case "max_hops":
		r.MaxHops = f.int().V
	case "payload":
		r.Payload = f.raw()
	default:
		return false
	}
	return true
}

// RPCRoute carries a message of the type PayloadType to another node.
type RPCRoute struct {
	Route
	PayloadType string // such as "call"
}

// Type returns TypeRPCRoute.
func (*RPCRoute) Type() Type { return TypeRPCRoute }

// AppendPayload implements Message.
func (m *RPCRoute) AppendPayload(b []byte) []byte {
	p := beginPayload(b)
	m.append(&p)
	p.optText("payload_type", m.PayloadType)
	return p.b
}

// Decode reads the message from a payload, whose memory it shares. It needs
// destination_node_id.
func (m *RPCRoute) Decode(b []byte) error {
	*m = RPCRoute{}
	f := readFields(TypeRPCRoute, b)
	for f.next() {
		switch {
		case m.take(&f):
		case string(f.key) == "payload_type":
			m.PayloadType = f.text(MaxField)
		default:
			f.skip()
		}
	}
	f.need("destination_node_id", m.Destination != nil)
	return f.done()
}
