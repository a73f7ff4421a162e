package routing

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNetworkErrors(t *testing.T) {
	tests := []struct {
		err  error
		is   error
		text string
	}{
		{&RefusedError{Reason: "realm_mismatch"}, ErrRefused, "refused: realm_mismatch"},
		{&RemoteError{Code: "busy"}, ErrRemote, "the peer answered with an error: busy"},
		{&RemoteError{Code: "invalid_args", Message: "value"}, ErrRemote, "the peer answered with an error: invalid_args: value"},
	}
	for _, tt := range tests {
		wrapped := fmt.Errorf("query: %w", tt.err)
		require.EqualError(t, tt.err, tt.text)
		for _, sentinel := range []error{ErrUnreachable, ErrRefused, ErrRemote} {
			require.Equal(t, sentinel == tt.is, errors.Is(wrapped, sentinel), "%v is %v", tt.err, sentinel)
		}
	}
}
