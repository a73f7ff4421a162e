package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v3"
)

func TestStatusIsWrittenOverAndGoneInTheEnd(t *testing.T) {
	var out bytes.Buffer
	s := &status{out: &out}
	s.clear() // nothing to clear
	require.Empty(t, out.String())
	s.show("asked %d nodes", 1)
	s.show("asked %d nodes", 2)
	s.clear()
	s.clear()
	require.Equal(t, "\r\x1b[Kasked 1 nodes …\r\x1b[Kasked 2 nodes …\r\x1b[K", out.String())
}

func TestStatusIsForTerminalsOnly(t *testing.T) {
	var out bytes.Buffer
	s := newStatus(&cli.Command{ErrWriter: &out})
	s.show("working")
	s.clear()
	require.Empty(t, out.String())
}
