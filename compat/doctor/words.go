package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// noALPN is the TLS alert of a server that does not speak the protocol asked
// for, as QUIC reports it.
const noALPN = quic.TransportErrorCode(0x100 + 120)

// What words says of two errors that call for an advice of their own.
const (
	wordsRefused = "connection refused"
	wordsNoALPN  = "QUIC, but not the ALPN " + dialer.ALPN
)

// words says in a few words why asking failed.
func words(err error, waited time.Duration) string {
	transport, isTransport := errors.AsType[*quic.TransportError](err)
	remote, isRemote := errors.AsType[*proto.RemoteError](err)
	cert, isCert := errors.AsType[*tls.CertificateVerificationError](err)
	dns, isDNS := errors.AsType[*net.DNSError](err)
	switch {
	case errors.Is(err, dialer.ErrBackoff):
		return "left alone: it kept silent"
	case isRemote:
		return strings.TrimPrefix(remote.Error(), proto.ErrRemote.Error()+": ")
	case errors.Is(err, identity.ErrCertificate):
		text := err.Error()
		return text[strings.Index(text, identity.ErrCertificate.Error())+len(proto.ErrRefused.Error()+": "):]
	case isCert:
		return "certificate refused: " + cert.Err.Error()
	case isTransport && transport.Remote && transport.ErrorCode == quic.ConnectionRefused:
		return wordsRefused
	case isTransport && transport.ErrorCode == noALPN:
		return wordsNoALPN
	case isDNS:
		return "no address: " + dns.Err
	case isSilence(err):
		return fmt.Sprintf("no answer within %v", round(waited))
	}
	text := err.Error()
	if i := strings.LastIndex(text, proto.ErrUnreachable.Error()+": "); i >= 0 {
		text = text[i+len(proto.ErrUnreachable.Error()+": "):]
	}
	return text
}

// isSilence reports whether time was all that was wanting, or the endpoint is
// left alone for that.
func isSilence(err error) bool {
	var t net.Error
	return errors.Is(err, dialer.ErrBackoff) || errors.Is(err, dialer.ErrNoReply) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.As(err, &t) && t.Timeout()
}
