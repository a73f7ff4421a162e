package proto

import (
	"errors"
	"fmt"
	"os"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
)

// ErrOverBudget ends a stream whose peer asked for more than its share.
var ErrOverBudget = errors.New("over the peer's budget")

// ErrConnectFirst ends a stream that has to CONNECT first, and is how asking such a
// peer fails: CONNECT, and ask again. It is an ErrRefused too.
var ErrConnectFirst = fmt.Errorf("%w: nobody is answered there who has not CONNECTed in its realm", ErrRefused)

// ResetCodeOf returns what the other end is told about the error that ended a
// stream: ResetGone where the stream or its connection had ended already.
func ResetCodeOf(err error) ResetCode {
	switch {
	case errors.Is(err, framing.ErrVersion):
		return ResetBadVersion
	case errors.Is(err, framing.ErrTooLarge):
		return ResetTooLarge
	case errors.Is(err, wire.ErrNotMap):
		return ResetNotMap
	case errors.Is(err, wire.ErrMsgpack), errors.Is(err, framing.ErrTruncated):
		return ResetBadMsgpack
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ResetTimeout
	case errors.Is(err, ErrOverBudget), errors.Is(err, network.ErrResourceLimitExceeded):
		return ResetRefused
	case errors.Is(err, ErrConnectFirst):
		return ResetConnectFirst
	default:
		return ResetGone
	}
}
