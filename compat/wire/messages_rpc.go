package wire

import "github.com/macula-mesh/macula-node/compat/wire/internal/fields"

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

func (m *Call) fields(c *fields.Codec) {
	c.Text("procedure", &m.Procedure, MaxField, fields.Always|fields.Required)
	c.Raw("args", &m.Args, fields.Optional)
	c.Bytes("call_id", &m.CallID, MaxField, fields.Optional)
	c.Text("realm", &m.Realm, MaxField, fields.Optional)
	c.OptInt("timeout", &m.Timeout)
}

// AppendPayload implements Message.
func (m *Call) AppendPayload(b []byte) []byte {
	c := fields.Encode(b)
	m.fields(&c)
	return c.Encoded()
}

// Decode reads the message from a payload, whose memory it shares. It needs
// procedure.
func (m *Call) Decode(b []byte) error {
	*m = Call{}
	c := fields.Decode(b)
	for c.Pass() {
		m.fields(&c)
	}
	return FieldErrorOf(TypeCall, c.Done())
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

func (m *Reply) fields(c *fields.Codec) {
	c.Bytes("call_id", &m.CallID, MaxField, fields.Optional)
	if c.When(m.Error == nil) {
		c.Raw("result", &m.Result, fields.Optional)
	}
	if c.When(m.Error != nil) {
		codeCallError(c, "error", &m.Error)
	}
	c.Need("result", m.Result != nil || m.Error != nil)
}

// AppendPayload implements Message.
func (m *Reply) AppendPayload(b []byte) []byte {
	c := fields.Encode(b)
	m.fields(&c)
	return c.Encoded()
}

// Decode reads the message from a payload, whose memory it shares. It needs
// result or error.
func (m *Reply) Decode(b []byte) error {
	*m = Reply{}
	c := fields.Decode(b)
	for c.Pass() {
		m.fields(&c)
	}
	return FieldErrorOf(TypeReply, c.Done())
}

func (e *CallError) fields(c *fields.Codec) {
	c.Text("code", &e.Code, MaxField, fields.Always)
	c.Text("message", &e.Message, MaxPayload, fields.Always)
}

// codeCallError is a map, or, without a code, the message alone.
func codeCallError(c *fields.Codec, name string, v **CallError) {
	switch {
	case c.Writing():
		if (*v).Code == "" {
			c.Constant(name, (*v).Message)
			return
		}
		outer := c.Map(name)
		(*v).fields(c)
		c.Close(outer)
	case c.At(name):
		*v = takeCallError(c, name)
		c.Next()
	}
}

func takeCallError(c *fields.Codec, name string) *CallError {
	t, v := c.Take()
	if t.Kind == Invalid || t.Kind == Nil {
		return nil
	}
	e := &CallError{}
	if t.Text() {
		e.Message = string(v[t.Head:])
		return e
	}
	sub := fields.Decode(v)
	for sub.Pass() {
		e.fields(&sub)
	}
	if err := sub.Done(); err != nil {
		c.Mistyped(name, err)
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

func (m *Cast) fields(c *fields.Codec) {
	c.Text("procedure", &m.Procedure, MaxField, fields.Always|fields.Required)
	c.Raw("args", &m.Args, fields.Optional)
}

// AppendPayload implements Message.
func (m *Cast) AppendPayload(b []byte) []byte {
	c := fields.Encode(b)
	m.fields(&c)
	return c.Encoded()
}

// Decode reads the message from a payload, whose memory it shares. It needs
// procedure.
func (m *Cast) Decode(b []byte) error {
	*m = Cast{}
	c := fields.Decode(b)
	for c.Pass() {
		m.fields(&c)
	}
	return FieldErrorOf(TypeCast, c.Done())
}

// RegisterProcedure says that its sender answers Calls of a procedure, which are to be
// sent to it on its stream, until that ends. It is of macula 0.29 to 2.1, and is never
// answered.
type RegisterProcedure struct {
	Procedure string
}

// Type returns TypeRegisterProcedure.
func (*RegisterProcedure) Type() Type { return TypeRegisterProcedure }

func (m *RegisterProcedure) fields(c *fields.Codec) {
	c.Text("procedure", &m.Procedure, MaxField, fields.Always|fields.Required)
}

// AppendPayload implements Message.
func (m *RegisterProcedure) AppendPayload(b []byte) []byte {
	c := fields.Encode(b)
	m.fields(&c)
	return c.Encoded()
}

// Decode reads the message from a payload, whose memory it shares. It needs
// procedure.
func (m *RegisterProcedure) Decode(b []byte) error {
	*m = RegisterProcedure{}
	c := fields.Decode(b)
	for c.Pass() {
		m.fields(&c)
	}
	return FieldErrorOf(TypeRegisterProcedure, c.Done())
}

// RPCRequest asks a node for a procedure, to be answered by RPCReply.
type RPCRequest struct {
	Kind         string // TextRPCRequest, or nothing
	RequestID    []byte // 16 bytes; comes back in the reply
	Procedure    string
	Args         Raw
	FromNode     []byte
	TargetNode   []byte // where it is to be passed on to; nil for the receiver
	FromEndpoint string
	Realm        string
	Timestamp    Opt[int64] // ms since 1970
}

// Type returns TypeRPCRequest.
func (*RPCRequest) Type() Type { return TypeRPCRequest }

func (m *RPCRequest) fields(c *fields.Codec) {
	c.Text("type", &m.Kind, MaxField, fields.Optional)
	c.Bytes("request_id", &m.RequestID, MaxField, fields.Optional)
	c.Text("procedure", &m.Procedure, MaxField, fields.Always|fields.Required)
	c.Raw("args", &m.Args, fields.Optional)
	c.Bytes("from_node", &m.FromNode, MaxField, fields.Optional)
	c.Bytes("target_node", &m.TargetNode, MaxField, fields.Optional)
	c.Text("from_endpoint", &m.FromEndpoint, MaxField, fields.Optional)
	c.Text("realm", &m.Realm, MaxField, fields.Optional)
	c.OptInt("timestamp", &m.Timestamp)
}

// AppendPayload implements Message.
func (m *RPCRequest) AppendPayload(b []byte) []byte {
	c := fields.Encode(b)
	m.fields(&c)
	return c.Encoded()
}

// Decode reads the message from a payload, whose memory it shares. It needs
// procedure.
func (m *RPCRequest) Decode(b []byte) error {
	*m = RPCRequest{}
	c := fields.Decode(b)
	for c.Pass() {
		m.fields(&c)
	}
	return FieldErrorOf(TypeRPCRequest, c.Done())
}

// RPCReply answers RPCRequest, with Result or Error.
type RPCReply struct {
	Kind      string // TextRPCReply of a gateway, or nothing
	RequestID []byte
	FromNode  []byte // the answering node's id
	ToNode    []byte // where it is to be passed on to; nil for the receiver
	Result    Raw
	Error     string     // such as ErrorNoHandler; empty for a result
	Timestamp Opt[int64] // ms since 1970
}

// Type returns TypeRPCReply.
func (*RPCReply) Type() Type { return TypeRPCReply }

func (m *RPCReply) fields(c *fields.Codec) {
	c.Text("type", &m.Kind, MaxField, fields.Optional)
	c.Bytes("request_id", &m.RequestID, MaxField, fields.Optional)
	c.Bytes("from_node", &m.FromNode, MaxField, fields.Optional)
	c.Bytes("to_node", &m.ToNode, MaxField, fields.Optional)
	c.Raw("result", &m.Result, fields.Optional)
	c.Text("error", &m.Error, MaxPayload, fields.Optional)
	c.OptInt("timestamp", &m.Timestamp)
}

// AppendPayload implements Message.
func (m *RPCReply) AppendPayload(b []byte) []byte {
	c := fields.Encode(b)
	m.fields(&c)
	return c.Encoded()
}

// Decode reads the message from a payload, whose memory it shares.
func (m *RPCReply) Decode(b []byte) error {
	*m = RPCReply{}
	c := fields.Decode(b)
	for c.Pass() {
		m.fields(&c)
	}
	return FieldErrorOf(TypeRPCReply, c.Done())
}

// Route is the envelope in which an Erlang mesh passes a message on.
type Route struct {
	Destination []byte // node id
	Source      []byte // node id
	HopCount    int64
	MaxHops     int64
	Payload     Raw // the message's map
}

func (r *Route) fields(c *fields.Codec) {
	c.Bytes("destination_node_id", &r.Destination, MaxField, fields.Required)
	c.Bytes("source_node_id", &r.Source, MaxField, fields.Optional)
	c.Int("hop_count", &r.HopCount)
	c.Int("max_hops", &r.MaxHops)
	c.Raw("payload", &r.Payload, fields.Optional)
}

// Answer returns the message that carries a Reply back to whom a call came from.
func (m *RPCRoute) Answer(from []byte, reply *Reply) *RPCRoute {
	return &RPCRoute{
		Route:       Route{Destination: m.Source, Source: from, HopCount: 1, MaxHops: max(m.MaxHops, 1), Payload: reply.AppendPayload(nil)},
		PayloadType: PayloadReply,
	}
}

// RPCRoute carries a message of the type PayloadType to another node.
type RPCRoute struct {
	Route
	PayloadType string // such as "call"
}

// Type returns TypeRPCRoute.
func (*RPCRoute) Type() Type { return TypeRPCRoute }

func (m *RPCRoute) fields(c *fields.Codec) {
	m.Route.fields(c)
	c.Text("payload_type", &m.PayloadType, MaxField, fields.Optional)
}

// AppendPayload implements Message.
func (m *RPCRoute) AppendPayload(b []byte) []byte {
	c := fields.Encode(b)
	m.fields(&c)
	return c.Encoded()
}

// Decode reads the message from a payload, whose memory it shares. It needs
// destination_node_id.
func (m *RPCRoute) Decode(b []byte) error {
	*m = RPCRoute{}
	c := fields.Decode(b)
	for c.Pass() {
		m.fields(&c)
	}
	return FieldErrorOf(TypeRPCRoute, c.Done())
}
