package outbox

import (
	"encoding/binary"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/internal/budget"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// TestMain fails the tests of this package if a goroutine outlives them.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// late marks the answer for who is late.
const late = 1 << 20

const slotTime = 5 * time.Second

func testLimits() Limits { return Limits{Queue: 256 << 10, Slots: 256, SlotTime: 8 * time.Second} }

func pong(n uint32) *wire.Pong { return &wire.Pong{Timestamp: wire.Some(int64(n))} }

func numberOf(f framing.Frame) uint32 { return binary.BigEndian.Uint32(f.Payload) }

// stream is one in memory: a Write waits for the Read that takes it.
type stream struct{ net.Conn }

func (s stream) Reset(proto.ResetCode) { s.Close() }

// rig is an outbox whose writer runs, and the peer at the other end.
type rig struct {
	*Outbox

	t       *testing.T
	account *budget.Account
	budget  *budget.Budget
	peer    net.Conn
	in      *framing.Reader
	slots   chan *Slot // of odd numbers
	ended   chan End
	over    bool // requireEnd was there
	taken   int  // of the account, by the test

	onDrop func(DropReason) // may be nil
	mu     sync.Mutex
	drops  map[DropReason]int
}

func newRig(t *testing.T, l Limits) *rig {
	t.Helper()
	b, err := budget.New(budget.DefaultLimits())
	require.NoError(t, err)
	ours, theirs := net.Pipe()
	p := &rig{
		t:       t,
		account: b.Open(budget.Source{Name: "alice"}),
		budget:  b,
		peer:    theirs,
		in:      framing.NewReader(theirs),
		slots:   make(chan *Slot, 1000),
		ended:   make(chan End, 1),
		drops:   make(map[DropReason]int),
	}
	t.Cleanup(p.account.Close)
	p.Outbox = New(stream{ours}, l, p.account, func(why DropReason) {
		p.mu.Lock()
		p.drops[why]++
		p.mu.Unlock()
		if p.onDrop != nil {
			p.onDrop(why)
		}
	})
	go func() {
		p.ended <- p.Write()
		close(p.ended)
	}()
	return p
}

func (p *rig) limits() budget.Limits { return p.budget.Limits() }

// ask has even numbers answered at once, and hands out the slots of odd ones.
func (p *rig) ask(numbers ...uint32) {
	p.t.Helper()
	for _, n := range numbers {
		if n%2 == 0 {
			require.NoError(p.t, p.Reply(pong(n)))
			continue
		}
		slot, err := p.Defer(slotTime, pong(n+late))
		require.NoError(p.t, err)
		p.slots <- slot
	}
	p.Flush()
}

func (p *rig) next() framing.Frame {
	p.t.Helper()
	f, err := p.in.Next()
	require.NoError(p.t, err)
	return f
}

func (p *rig) requireAnswers(numbers ...uint32) {
	p.t.Helper()
	for _, n := range numbers {
		m, err := p.next().Decode()
		require.NoError(p.t, err)
		require.Equal(p.t, wire.Some(int64(n)), m.(*wire.Pong).Timestamp)
	}
}

// requireSilence requires that nothing waits to be read.
func (p *rig) requireSilence() {
	p.t.Helper()
	require.NoError(p.t, p.peer.SetReadDeadline(time.Now().Add(time.Millisecond)))
	_, err := p.in.Next()
	require.ErrorContains(p.t, err, "timeout")
	require.NoError(p.t, p.peer.SetReadDeadline(time.Time{}))
}

// requireEnd requires that the writer ends, and closes the outbox.
func (p *rig) requireEnd() {
	p.t.Helper()
	p.over = true
	p.Finish()
	<-p.ended
	p.Close()
}

// requireNothingHeld requires that the account has all its memory back.
func (p *rig) requireNothingHeld() {
	p.t.Helper()
	if !p.over {
		p.requireEnd()
	}
	held, _ := p.account.Usage()
	require.Zero(p.t, held.Memory)
}
