package framing_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
)

// ledger is a resource scope with a limit.
type ledger struct {
	t          testing.TB
	used, peak int
	limit      int
}

var errBudget = errors.New("over budget")

func (l *ledger) ReserveMemory(size int, _ uint8) error {
	assert.Positive(l.t, size)
	if l.limit > 0 && l.used+size > l.limit {
		return errBudget
	}
	l.used += size
	l.peak = max(l.peak, l.used)
	return nil
}

func (l *ledger) ReleaseMemory(size int) {
	assert.Positive(l.t, size)
	l.used -= size
	assert.GreaterOrEqual(l.t, l.used, 0, "gave back more than it took")
}

// A header promises; only bytes that arrive may cost memory.
func TestReaderBelievesNoHeader(t *testing.T) {
	tests := map[string]struct {
		header []byte
		data   int // bytes that follow it
		want   error
		peak   int
	}{
		"1 MiB and 1 byte":      {[]byte{1, 3, 0, 0, 0, 0x10, 0, 1}, 100, framing.ErrTooLarge, 4 << 10},
		"1 MiB, 100 bytes come": {[]byte{1, 3, 0, 0, 0, 0x10, 0, 0}, 100, framing.ErrTruncated, 4 << 10},
		"1 MiB, 10 kB come":     {[]byte{1, 3, 0, 0, 0, 0x10, 0, 0}, 10_000, framing.ErrTruncated, 16 << 10},
		"1 MiB, all but 1 byte": {[]byte{1, 3, 0, 0, 0, 0x10, 0, 0}, 1<<20 - 1, framing.ErrTruncated, 1<<20 + 8},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			l := &ledger{t: t}
			r := framing.NewReader(bytes.NewReader(join(test.header, make([]byte, test.data))), framing.WithMemory(l))
			_, err := r.Next()
			require.ErrorIs(t, err, test.want)
			assert.Equal(t, test.peak, l.peak)
			r.Close()
			assert.Zero(t, l.used)
		})
	}
}

func TestReaderMemory(t *testing.T) {
	big := frame(wire.TypeStore, fields("key", bin("k"), "value", fields("v", bin(string(make([]byte, 500_000))))))
	small := frame(wire.TypePing, raw(0x80))

	t.Run("is given back", func(t *testing.T) {
		l := &ledger{t: t}
		r := framing.NewReader(bytes.NewReader(join(small, big, small)), framing.WithMemory(l))
		assert.Zero(t, l.used, "nothing before the first read")
		frames, err := readAll(r)
		require.Equal(t, io.EOF, err)
		require.Len(t, frames, 3)
		assert.GreaterOrEqual(t, l.peak, len(big))
		assert.Less(t, l.peak, 2*len(big)+8<<10)
		assert.Equal(t, 4<<10, l.used, "a large buffer is not kept")
		r.Close()
		assert.Zero(t, l.used)
		r.Close()
		assert.Zero(t, l.used, "twice is the same")
	})
	t.Run("small frames need no more than the first buffer", func(t *testing.T) {
		l := &ledger{t: t}
		store := frame(wire.TypeStore, fields("key", bin("k"), "value", fields("v", bin(string(make([]byte, 1900))))))
		r := framing.NewReader(iotest.HalfReader(bytes.NewReader(bytes.Repeat(store, 100))), framing.WithMemory(l))
		frames, err := readAll(r)
		require.Equal(t, io.EOF, err)
		require.Len(t, frames, 100)
		assert.Equal(t, 4<<10, l.peak)
		r.Close()
	})
	t.Run("a refusal names itself and loses nothing", func(t *testing.T) {
		l := &ledger{t: t, limit: 100_000}
		r := framing.NewReader(bytes.NewReader(join(small, big, small)), framing.WithMemory(l))
		frames, err := readAll(r)
		require.ErrorIs(t, err, errBudget)
		require.Len(t, frames, 1)
		assert.LessOrEqual(t, l.used, l.limit)

		l.limit = 0
		frames, err = readAll(r)
		require.Equal(t, io.EOF, err)
		assert.Len(t, frames, 2)
		r.Close()
		assert.Zero(t, l.used)
	})
	t.Run("the very first read may be refused", func(t *testing.T) {
		l := &ledger{t: t, limit: 1}
		called := false
		src := readFunc(func([]byte) (int, error) { called = true; return 0, io.EOF })
		_, err := framing.NewReader(src, framing.WithMemory(l)).Next()
		require.ErrorIs(t, err, errBudget)
		assert.False(t, called)
		assert.Zero(t, l.used)
	})
	t.Run("without an account", func(t *testing.T) {
		r := framing.NewReader(iotest.HalfReader(bytes.NewReader(join(small, big, small))))
		frames, err := readAll(r)
		require.Equal(t, io.EOF, err)
		assert.Len(t, frames, 3)
		r.Close()
	})
}

// What Close dropped would be missed: frames can not be cut any more, and memory
// must not be taken once it was given back for good.
func TestReaderIsDoneAfterClose(t *testing.T) {
	l := &ledger{t: t}
	ping := frame(wire.TypePing, fields("timestamp", num(7)))
	r := framing.NewReader(iotest.OneByteReader(bytes.NewReader(bytes.Repeat(ping, 3))), framing.WithMemory(l))
	_, err := r.Next()
	require.NoError(t, err)
	r.Close()
	_, err = r.Next()
	require.Error(t, err)
	assert.NotErrorIs(t, err, io.EOF)
	assert.Zero(t, l.used)
}

// Large frames one after the other must not cost more than their bytes: the
// buffer doubles, and is moved only when half of it is free.
func TestReaderGrowsByDoubling(t *testing.T) {
	big := frame(wire.TypePublish, make([]byte, 1<<20))
	spent := allocated(func() {
		r := framing.NewReader(iotest.OneByteReader(bytes.NewReader(big)))
		_, err := r.Next()
		assert.NoError(t, err)
	})
	assert.Less(t, spent, uint64(4<<20))
}
