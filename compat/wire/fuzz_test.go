package wire_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
)

// FuzzMessages: no payload makes a decoder panic, and a message that was decoded
// says the same after it was encoded.
func FuzzMessages(f *testing.F) {
	for _, b := range vectors().Frames() {
		if fr, _, err := framing.DecodeFrame(b); err == nil {
			f.Add(byte(fr.Type), fr.Payload)
		}
	}
	for _, typ := range typed() {
		f.Add(byte(typ), []byte(payloadWith(typ, "", nil)))
	}
	f.Fuzz(func(t *testing.T, typ byte, payload []byte) {
		fr := framing.Frame{Type: wire.Type(typ), Payload: payload}
		checked := fr.Check()
		before := bytes.Clone(payload)
		m, err := fr.Decode()
		require.Equal(t, before, payload)
		var fe *wire.FieldError
		switch {
		case errors.As(err, &fe):
			require.NotNil(t, m)
			require.Contains(t, []error{wire.ErrMissingField, wire.ErrMistypedField}, fe.Err)
		case err != nil:
			require.Nil(t, m)
			require.Condition(t, func() bool {
				return errors.Is(err, wire.ErrUnknownType) || errors.Is(err, wire.ErrMsgpack) || errors.Is(err, wire.ErrNotMap)
			}, err)
		}
		if checked == nil && fr.Type.Known() {
			require.NotNil(t, m, "sound MessagePack gives a message: %v", err)
		}
		if err != nil {
			return
		}
		exclusive(m)
		again, err := (framing.Frame{Type: fr.Type, Payload: m.AppendPayload(nil)}).Decode()
		require.NoError(t, err)
		require.Equal(t, m, again)
	})
}

// exclusive drops what a contradictory message says besides its error or hit:
// encoding keeps one.
func exclusive(m wire.Message) {
	switch m := m.(type) {
	case *wire.Reply:
		if m.Error != nil {
			m.Result = nil
		}
	case *wire.FindNodeReply:
		if m.Reason != "" {
			m.Nodes = nil
		}
	case *wire.FindValueReply:
		if m.Reason != "" {
			m.Values, m.ExpiresIn, m.Proofs, m.Tombstones, m.Nodes = nil, nil, nil, nil, nil
		} else if len(m.Values) > 0 {
			m.Nodes = nil
		}
	case *wire.Pong:
		if m.NodeID == nil {
			m.Endpoint = ""
		}
	}
}
