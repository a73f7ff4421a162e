package wire

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

func (m *Call) fields(c *codec) {
	c.text("procedure", &m.Procedure, MaxField, always|required)
	c.raw("args", &m.Args, optional)
	c.bytes("call_id", &m.CallID, MaxField, optional)
	c.text("realm", &m.Realm, MaxField, optional)
	c.optInt("timeout", &m.Timeout)
}

// AppendPayload implements Message.
func (m *Call) AppendPayload(b []byte) []byte {
	c := encode(b)
	m.fields(&c)
	return c.b
}

// Decode reads the message from a payload, whose memory it shares. It needs
// procedure.
func (m *Call) Decode(b []byte) error {
	*m = Call{}
	c := decode(TypeCall, b)
	for c.pass() {
		m.fields(&c)
	}
	return c.done()
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

func (m *Reply) fields(c *codec) {
	c.bytes("call_id", &m.CallID, MaxField, optional)
	if c.when(m.Error == nil) {
		c.raw("result", &m.Result, optional)
	}
	if c.when(m.Error != nil) {
		c.callError("error", &m.Error)
	}
	c.need("result", m.Result != nil || m.Error != nil)
}

// AppendPayload implements Message.
func (m *Reply) AppendPayload(b []byte) []byte {
	c := encode(b)
	m.fields(&c)
	return c.b
}

// Decode reads the message from a payload, whose memory it shares. It needs
// result or error.
func (m *Reply) Decode(b []byte) error {
	*m = Reply{}
	c := decode(TypeReply, b)
	for c.pass() {
		m.fields(&c)
	}
	return c.done()
}

func (e *CallError) fields(c *codec) {
	c.text("code", &e.Code, MaxField, always)
	c.text("message", &e.Message, MaxPayload, always)
}

// callError is a map, or, without a code, the message alone.
func (c *codec) callError(name string, v **CallError) {
	switch {
	case c.phase == writing:
		if (*v).Code == "" {
			c.constant(name, (*v).Message)
			return
		}
		c.b = c.named(name)
		outer := c.open()
		(*v).fields(c)
		c.begin = outer
	case c.at(name):
		*v = c.takeCallError()
		c.next()
	}
}

func (c *codec) takeCallError() *CallError {
	t, v := c.take(false)
	if c.err != nil || t.Kind == Nil {
		return nil
	}
	e := &CallError{}
	if t.Text() {
		e.Message = string(v[t.Head:])
		return e
	}
	sub := decode(c.typ, v)
	for sub.pass() {
		e.fields(&sub)
	}
	if err := sub.done(); err != nil {
		c.mistyped(err.Error())
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

func (m *Cast) fields(c *codec) {
	c.text("procedure", &m.Procedure, MaxField, always|required)
	c.raw("args", &m.Args, optional)
}

// AppendPayload implements Message.
func (m *Cast) AppendPayload(b []byte) []byte {
	c := encode(b)
	m.fields(&c)
	return c.b
}

// Decode reads the message from a payload, whose memory it shares. It needs
// procedure.
func (m *Cast) Decode(b []byte) error {
	*m = Cast{}
	c := decode(TypeCast, b)
	for c.pass() {
		m.fields(&c)
	}
	return c.done()
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

func (m *RPCRequest) fields(c *codec) {
	c.bytes("request_id", &m.RequestID, MaxField, optional)
	c.text("procedure", &m.Procedure, MaxField, always|required)
	c.raw("args", &m.Args, optional)
	c.bytes("from_node", &m.FromNode, MaxField, optional)
	c.bytes("target_node", &m.TargetNode, MaxField, optional)
	c.text("from_endpoint", &m.FromEndpoint, MaxField, optional)
	c.optInt("timestamp", &m.Timestamp)
}

// AppendPayload implements Message.
func (m *RPCRequest) AppendPayload(b []byte) []byte {
	c := encode(b)
	m.fields(&c)
	return c.b
}

// Decode reads the message from a payload, whose memory it shares. It needs
// procedure.
func (m *RPCRequest) Decode(b []byte) error {
	*m = RPCRequest{}
	c := decode(TypeRPCRequest, b)
	for c.pass() {
		m.fields(&c)
	}
	return c.done()
}

// RPCReply answers RPCRequest, with Result or Error.
type RPCReply struct {
	RequestID []byte
	FromNode  []byte // the answering node's id
	Result    Raw
	Error     string     // such as ErrorNoHandler; empty for a result
	Timestamp Opt[int64] // ms since 1970
}

// Type returns TypeRPCReply.
func (*RPCReply) Type() Type { return TypeRPCReply }

func (m *RPCReply) fields(c *codec) {
	c.bytes("request_id", &m.RequestID, MaxField, optional)
	c.bytes("from_node", &m.FromNode, MaxField, optional)
	c.raw("result", &m.Result, optional)
	c.text("error", &m.Error, MaxPayload, optional)
	c.optInt("timestamp", &m.Timestamp)
}

// AppendPayload implements Message.
func (m *RPCReply) AppendPayload(b []byte) []byte {
	c := encode(b)
	m.fields(&c)
	return c.b
}

// Decode reads the message from a payload, whose memory it shares.
func (m *RPCReply) Decode(b []byte) error {
	*m = RPCReply{}
	c := decode(TypeRPCReply, b)
	for c.pass() {
		m.fields(&c)
	}
	return c.done()
}

// Route is the envelope in which an Erlang mesh passes a message on.
type Route struct {
	Destination []byte // node id
	Source      []byte // node id
	HopCount    int64
	MaxHops     int64
	Payload     Raw // the message's map
}

func (r *Route) fields(c *codec) {
	c.bytes("destination_node_id", &r.Destination, MaxField, required)
	c.bytes("source_node_id", &r.Source, MaxField, optional)
	c.int("hop_count", &r.HopCount)
	c.int("max_hops", &r.MaxHops)
	c.raw("payload", &r.Payload, optional)
}

// RPCRoute carries a message of the type PayloadType to another node.
type RPCRoute struct {
	Route
	PayloadType string // such as "call"
}

// Type returns TypeRPCRoute.
func (*RPCRoute) Type() Type { return TypeRPCRoute }

func (m *RPCRoute) fields(c *codec) {
	m.Route.fields(c)
	c.text("payload_type", &m.PayloadType, MaxField, optional)
}

// AppendPayload implements Message.
func (m *RPCRoute) AppendPayload(b []byte) []byte {
	c := encode(b)
	m.fields(&c)
	return c.b
}

// Decode reads the message from a payload, whose memory it shares. It needs
// destination_node_id.
func (m *RPCRoute) Decode(b []byte) error {
	*m = RPCRoute{}
	c := decode(TypeRPCRoute, b)
	for c.pass() {
		m.fields(&c)
	}
	return c.done()
}
