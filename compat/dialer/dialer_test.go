package dialer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/dialer/pace"
	"github.com/macula-mesh/macula-node/compat/internal/compattest"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/interop/glass"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// All who ask at once share one handshake, which is tried again while the node
// is busy with somebody else's.
func TestOneHandshakeAtATime(t *testing.T) {
	t.Parallel()
	e := compattest.StartErlang(t, "127.0.0.1:0")
	letGo := e.HoldHandshakes()
	other := newDialer(t) // occupies the one place that there is
	first := compattest.InBackground(func() error {
		_, err := client.Ping(compattest.Context(t), other, compattest.At(e.Endpoint()))
		return err
	})
	compattest.Eventually(t, func() bool { return e.Stats().Handshaking }, "a handshake is under way")

	d := newDialer(t)
	const callers = 32
	results := make(chan error, callers)
	for range callers {
		go func() {
			_, err := client.Ping(compattest.Context(t), d, compattest.At(e.Endpoint()))
			results <- err
		}()
	}
	compattest.Eventually(t, func() bool { return e.Stats().Refused >= 2 }, "it is refused, and tried again")
	letGo()
	require.NoError(t, compattest.Wait(t, first))
	for range callers {
		require.NoError(t, compattest.Wait(t, results))
	}
	e.RequireSpared()
	require.Equal(t, 2, e.Stats().Accepted, "one of each dialer")
	require.Less(t, e.Stats().Refused, 10, "one dial at a time, with a delay")
	require.Equal(t, callers+1, e.Count(wire.TypePing))
}

func TestRefusedForTooLong(t *testing.T) {
	e := compattest.StartErlang(t, "127.0.0.1:0")
	e.OccupyHandshake() // for ever
	d := newDialer(t, within(300*time.Millisecond, compattest.Patience))
	_, err := client.Ping(compattest.Context(t), d, compattest.At(e.Endpoint()))
	require.ErrorIs(t, err, proto.ErrUnreachable)
	require.True(t, pace.Refused(err), "%v", err)
}

// After more requests than streams are granted the connection still works.
func TestStreamCreditIsGivenBack(t *testing.T) {
	e := compattest.StartErlang(t, "127.0.0.1:0")
	d := newDialer(t)
	const requests = 5 * glass.StreamCredit
	key, value := []byte("a key"), compattest.Provider("node-1")
	var workers sync.WaitGroup
	failures := make(chan error, requests)
	for worker := range 8 {
		workers.Go(func() {
			for i := worker; i < requests; i += 8 {
				var err error
				switch i % 4 {
				case 0:
					_, err = client.Ping(compattest.Context(t), d, compattest.At(e.Endpoint()))
				case 1:
					err = d.Send(compattest.Context(t), compattest.At(e.Endpoint()), &wire.Store{Key: key, Value: value})
				case 2:
					_, err = client.FindValue(compattest.Context(t), d, compattest.At(e.Endpoint()), key)
				case 3:
					err = client.Put(compattest.Context(t), d, compattest.At(e.Endpoint()), procedures.StoreArgs{Key: key, Value: value})
				}
				if err != nil {
					failures <- err
				}
			}
		})
	}
	workers.Wait()
	close(failures)
	for err := range failures {
		require.NoError(t, err)
	}
	compattest.Eventually(t, func() bool { return e.Count() == requests }, "all came")
	e.RequireSpared()
	require.Equal(t, 1, e.Stats().Accepted)
	require.Equal(t, 1, e.Stats().MostAsking[wire.TypeFindValue], "one lookup at a time")
}

// STOREs alone, which have no reply to wait for.
func TestStoresGiveCreditBack(t *testing.T) {
	e := compattest.StartErlang(t, "127.0.0.1:0")
	d := newDialer(t)
	for i := range glass.StreamCredit + 50 {
		require.NoError(t, d.Send(compattest.Context(t), compattest.At(e.Endpoint()), &wire.Store{Key: fmt.Append(nil, i), Value: compattest.Provider("n")}))
	}
	compattest.Eventually(t, func() bool { return e.Count(wire.TypeStore) == glass.StreamCredit+50 }, "all came")
	e.RequireSpared()
	require.Equal(t, 1, e.Stats().Accepted)
}

// A STORE that was sent has left, whatever happens next.
func TestCloseDoesNotOvertakeStores(t *testing.T) {
	t.Parallel()
	e := compattest.StartErlang(t, "127.0.0.1:0")
	const rounds = 10
	for range rounds {
		d := newDialer(t)
		require.NoError(t, d.Send(compattest.Context(t), compattest.At(e.Endpoint()), &wire.Store{Key: []byte("k"), Value: compattest.Provider("n")}))
		compattest.RequireCloses(t, d.Close)
	}
	compattest.Eventually(t, func() bool { return e.Count(wire.TypeStore) == rounds }, "all came")
}

// A caller that gives up leaves its stream as it is until the reply has come.
func TestNothingIsCancelledBeforeTheReply(t *testing.T) {
	requests := map[string]wire.Message{
		"PING":       &wire.Ping{Timestamp: wire.Some(int64(1))},
		"NAT_PROBE":  &wire.NATProbe{NodeID: []byte("me"), RequestID: []byte("0123456789abcdef")},
		"FIND_VALUE": &wire.FindValue{Key: []byte("k")},
		"CALL":       &wire.Call{Procedure: wire.ProcedureListGateways, Args: wire.RawMap(), CallID: []byte("0123456789abcdef")},
	}
	for name, m := range requests {
		t.Run(name, func(t *testing.T) {
			e := compattest.StartErlang(t, "127.0.0.1:0")
			letGo := e.HoldReplies(m.Type())
			d := newDialer(t)
			ctx, cancel := context.WithCancelCause(compattest.Context(t))
			result := compattest.InBackground(func() error {
				_, err := d.Query(ctx, compattest.At(e.Endpoint()), m)
				return err
			})
			compattest.Eventually(t, func() bool { return e.Count(m.Type()) == 1 }, "asked")
			gaveUp := errors.New("the caller has had enough")
			cancel(gaveUp)
			err := compattest.Wait(t, result)
			require.ErrorIs(t, err, gaveUp)
			require.ErrorIs(t, err, proto.ErrUnanswered)
			require.ErrorIs(t, err, proto.ErrUnreachable)

			// Other requests still go over the same connection, so what was sent
			// for the cancelled one would have arrived.
			if m.Type() != wire.TypePing {
				_, err = client.Ping(compattest.Context(t), d, compattest.At(e.Endpoint()))
				require.NoError(t, err)
			}
			e.RequireUnharmed()
			require.Positive(t, e.Stats().Streams)
			letGo()
			e.RequireSpared()
			require.Equal(t, 1, e.Stats().Accepted)
		})
	}
}

func TestCancelledBeforehand(t *testing.T) {
	e := compattest.StartErlang(t, "127.0.0.1:0")
	d := newDialer(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := client.Ping(ctx, d, compattest.At(e.Endpoint()))
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, proto.ErrUnreachable)
	require.Zero(t, e.Count())
}

// Who gives up does not break the handshake, which the node has only room for
// one of.
func TestHandshakeOutlivesItsCaller(t *testing.T) {
	e := compattest.StartErlang(t, "127.0.0.1:0")
	letGo := e.HoldHandshakes()
	d := newDialer(t)
	ctx, cancel := context.WithCancel(compattest.Context(t))
	result := compattest.InBackground(func() error {
		_, err := client.Ping(ctx, d, compattest.At(e.Endpoint()))
		return err
	})
	compattest.Eventually(t, func() bool { return e.Stats().Handshaking }, "a handshake is under way")
	cancel()
	err := compattest.Wait(t, result)
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, proto.ErrUnanswered, "nothing was asked yet")
	letGo()
	_, err = client.Ping(compattest.Context(t), d, compattest.At(e.Endpoint()))
	require.NoError(t, err)
	require.Equal(t, 1, e.Stats().Accepted)
	require.Zero(t, e.Stats().Refused)
}

func TestLookupsOneAtATime(t *testing.T) {
	e := compattest.StartErlang(t, "127.0.0.1:0")
	letGo := e.HoldReplies(wire.TypeFindValue)
	d := newDialer(t)
	lookups := DefaultLimits().MaxStreams + 8 // more than streams, which they must not take from the PINGs
	results := make(chan error, lookups)
	for range lookups {
		go func() {
			_, err := client.FindValue(compattest.Context(t), d, compattest.At(e.Endpoint()), []byte("k"))
			results <- err
		}()
	}
	compattest.Eventually(t, func() bool { return e.Count(wire.TypeFindValue) == 1 }, "the first is asked")
	for range 20 {
		_, err := client.Ping(compattest.Context(t), d, compattest.At(e.Endpoint()))
		require.NoError(t, err)
	}
	require.Equal(t, 1, e.Count(wire.TypeFindValue), "the others wait")
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	_, err := client.FindValue(ctx, d, compattest.At(e.Endpoint()), []byte("k"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, proto.ErrUnanswered, "who waits for its turn has not asked")
	letGo()
	for range lookups {
		require.NoError(t, compattest.Wait(t, results))
	}
	e.RequireSpared()
	require.Equal(t, 1, e.Stats().MostAsking[wire.TypeFindValue])
}

func TestPingsInParallel(t *testing.T) {
	e := compattest.StartErlang(t, "127.0.0.1:0")
	letGo := e.HoldReplies(wire.TypePing)
	d := newDialer(t)
	pings := DefaultLimits().MaxStreams
	results := make(chan error, pings)
	for range pings {
		go func() {
			_, err := client.Ping(compattest.Context(t), d, compattest.At(e.Endpoint()))
			results <- err
		}()
	}
	compattest.Eventually(t, func() bool { return e.Count(wire.TypePing) == pings }, "all are asked before one is answered")
	letGo()
	for range pings {
		require.NoError(t, compattest.Wait(t, results))
	}
	e.RequireSpared()
}

// What is asked for comes back whole though it comes in many pieces.
func TestLongReply(t *testing.T) {
	e := compattest.StartErlang(t, "127.0.0.1:0")
	pad := wire.Pair{Key: "data", Value: wire.RawBytes(make([]byte, 60_000))}
	long, another := compattest.Provider("n", pad), compattest.Provider("m", pad)
	e.Store([]byte("k"), another)
	e.Store([]byte("k"), long)
	d := newDialer(t)
	reply, err := client.FindValue(compattest.Context(t), d, compattest.At(e.Endpoint()), []byte("k"))
	require.NoError(t, err)
	require.Equal(t, []wire.Raw{long, another}, reply.Values)
	e.RequireSpared()
}

func TestReplies(t *testing.T) {
	ping := &wire.Ping{Timestamp: wire.Some(int64(7))}
	call := &wire.Call{Procedure: wire.ProcedureListGateways, Args: wire.RawMap(), CallID: []byte("0123456789abcdef")}
	tests := map[string]struct {
		ask   wire.Message
		reply []byte
		is    error
		says  string
	}{
		"of another type":        {ping, compattest.Frames(t, &wire.FindNodeReply{}), proto.ErrRemote, "wrong_reply"},
		"an error":               {&wire.FindValue{Key: []byte("k")}, compattest.Frames(t, &wire.FindValueReply{Reason: "missing_key"}), proto.ErrRemote, "missing_key"},
		"an error of a CALL":     {call, compattest.Frames(t, &wire.Reply{CallID: call.CallID, Error: &wire.CallError{Code: "invalid_args", Message: "value"}}), proto.ErrRemote, "invalid_args: value"},
		"with another call_id":   {call, compattest.Frames(t, &wire.Reply{CallID: []byte("another"), Result: wire.RawMap()}), proto.ErrRemote, "wrong_call_id"},
		"that is no map":         {ping, compattest.RawFrame(wire.TypePong, 5), proto.ErrRemote, "bad_reply"},
		"of an unknown type":     {ping, compattest.RawFrame(0xee, 0x80), proto.ErrRemote, "wrong_reply"},
		"of another version":     {ping, []byte{2, 4, 0, 0, 0, 0, 0, 0}, proto.ErrUnreachable, "unsupported frame version"},
		"that promises too much": {ping, []byte{1, 4, 0, 0, 0xff, 0, 0, 0}, proto.ErrUnreachable, "too large"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e := compattest.StartErlang(t, "127.0.0.1:0")
			e.ReplyWith(func(framing.Frame) []byte { return test.reply })
			d := newDialer(t)
			_, err := d.Query(compattest.Context(t), compattest.At(e.Endpoint()), test.ask)
			require.ErrorIs(t, err, test.is)
			require.ErrorContains(t, err, test.says)
			e.RequireUnharmed()

			e.ReplyWith(nil)
			_, err = d.Query(compattest.Context(t), compattest.At(e.Endpoint()), test.ask)
			require.NoError(t, err, "the next is not touched by it")
		})
	}
}

func TestEndpointsThatAreDialled(t *testing.T) {
	for name, test := range map[string]struct{ listen, host string }{
		"IPv4": {"127.0.0.1:0", "127.0.0.1"},
		"IPv6": {"[::1]:0", "[::1]"},
		"name": {"127.0.0.1:0", "localhost"},
		"Name": {"127.0.0.1:0", "LocalHost."},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.HasPrefix(test.listen, "[") {
				requireIPv6(t)
			}
			e := compattest.StartErlang(t, test.listen)
			_, number, err := net.SplitHostPort(strings.TrimPrefix(e.Endpoint(), "https://"))
			require.NoError(t, err)
			d := newDialer(t)
			_, err = client.Ping(compattest.Context(t), d, compattest.At("https://"+test.host+":"+number))
			require.NoError(t, err)
			e.RequireSpared()
		})
	}
}

func requireIPv6(t *testing.T) {
	t.Helper()
	probe, err := net.ListenPacket("udp6", "[::1]:0")
	if err != nil {
		t.Skip("this machine has no IPv6: ", err)
	}
	require.NoError(t, probe.Close())
}

// What is asked, and what is sent.
func TestQueryOrSend(t *testing.T) {
	d := newDialer(t)
	_, err := d.Query(compattest.Context(t), compattest.At("https://127.0.0.1:1"), &wire.Store{Key: []byte("k"), Value: compattest.Provider("n")})
	require.ErrorIs(t, err, proto.ErrInvalidRequest)
	require.ErrorContains(t, err, "store has no reply, use Send")
	err = d.Send(compattest.Context(t), compattest.At("https://127.0.0.1:1"), &wire.Ping{})
	require.ErrorIs(t, err, proto.ErrInvalidRequest)
	require.ErrorContains(t, err, "ping has a reply, use Query")
	_, err = d.Query(compattest.Context(t), compattest.At("127.0.0.1:1"), &wire.Ping{})
	require.ErrorIs(t, err, endpoints.ErrBad)
	require.ErrorIs(t, err, proto.ErrUnreachable)
	require.Zero(t, links(d))
}
