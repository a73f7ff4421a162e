package terminal

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v3"
)

func TestStatusIsWrittenOverAndGoneInTheEnd(t *testing.T) {
	var out bytes.Buffer
	s := &Status{out: &out}
	s.Clear() // nothing to clear
	require.Empty(t, out.String())
	s.Show("asked %d nodes", 1)
	s.Show("asked %d nodes", 2)
	s.Clear()
	s.Clear()
	require.Equal(t, "\r\x1b[Kasked 1 nodes …\r\x1b[Kasked 2 nodes …\r\x1b[K", out.String())
}

func TestStatusIsForTerminalsOnly(t *testing.T) {
	var out bytes.Buffer
	s := NewStatus(&cli.Command{ErrWriter: &out})
	s.Show("working")
	s.Clear()
	require.Empty(t, out.String())
}
