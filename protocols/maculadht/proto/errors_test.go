package proto_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

func TestErrors(t *testing.T) {
	tests := []struct {
		err  error
		is   error
		text string
	}{
		{&proto.RefusedError{Reason: "realm_mismatch"}, proto.ErrRefused, "refused: realm_mismatch"},
		{&proto.RemoteError{Code: "busy"}, proto.ErrRemote, "the peer answered with an error: busy"},
		{&proto.RemoteError{Code: "invalid_args", Message: "value"}, proto.ErrRemote, "the peer answered with an error: invalid_args: value"},
	}
	for _, tt := range tests {
		wrapped := fmt.Errorf("query: %w", tt.err)
		require.EqualError(t, tt.err, tt.text)
		for _, sentinel := range []error{proto.ErrUnreachable, proto.ErrRefused, proto.ErrRemote} {
			require.Equal(t, sentinel == tt.is, errors.Is(wrapped, sentinel), "%v is %v", tt.err, sentinel)
		}
	}
}
