// Package runner answers calls by running a command for each.
package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/node/api/schema"
)

const (
	maxErrors = 4 << 10 // of a command's standard error that its caller is told
	maxResult = wire.MaxPayload
	killTime  = time.Second // for what holds a killed command's output open
)

// Run runs a command for one call, of which it has the args on its standard input, and
// returns what it printed, or why that is no answer. It is killed when the limit is over,
// and what it has begun with it, and what it leaves behind when it ends.
func Run(ctx context.Context, limit time.Duration, command []string, args json.RawMessage) schema.CallAnswer {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	c := exec.CommandContext(ctx, command[0], command[1:]...)
	c.WaitDelay = killTime
	ownGroup(c)
	out, errs := &atMost{limit: maxResult}, &atMost{limit: maxErrors}
	c.Stdin, c.Stdout, c.Stderr = bytes.NewReader(append(args, '\n')), out, errs
	failed := func(code, format string, a ...any) schema.CallAnswer {
		return schema.CallAnswer{Error: &schema.CallError{Code: code, Message: fmt.Sprintf(format, a...)}}
	}
	err := c.Run()
	endGroup(c) // what it left behind would outlive its call
	switch {
	case errors.Is(err, exec.ErrWaitDelay): // it is done itself: what it left behind held its output open
	case ctx.Err() != nil:
		return failed(wire.CodeTimeout, "The command was not done within %v", limit)
	case err != nil && len(bytes.TrimSpace(errs.b.Bytes())) > 0:
		return failed(wire.CodeHandlerError, "%s", bytes.ToValidUTF8(bytes.TrimSpace(errs.b.Bytes()), []byte("\uFFFD")))
	case err != nil:
		return failed(wire.CodeHandlerError, "The command failed: %v", err)
	case out.more:
		return failed(wire.CodeTooLarge, "The command printed more than %d bytes", maxResult)
	}
	result := bytes.TrimSpace(out.b.Bytes())
	if len(result) == 0 {
		result = []byte("null")
	}
	value, err := wire.FromJSON(result)
	if err != nil {
		return failed(wire.CodeHandlerError, "The command printed no JSON: %v", err)
	}
	return schema.CallAnswer{Result: schema.Value{Raw: value}}
}

// atMost keeps the first bytes that are written, and takes the rest.
type atMost struct {
	limit int
	b     bytes.Buffer
	more  bool
}

func (a *atMost) Write(p []byte) (int, error) {
	if room := a.limit - a.b.Len(); len(p) > room {
		a.more = true
		a.b.Write(p[:room])
	} else {
		a.b.Write(p)
	}
	return len(p), nil
}
