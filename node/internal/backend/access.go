package backend

import (
	"errors"
	"fmt"

	"github.com/macula-mesh/macula-node/internal/access"
	"github.com/macula-mesh/macula-node/node/api/schema"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// Bans implements api.Access.
func (b *Backend) Bans() schema.Bans {
	if b.Lists == nil {
		return schema.Bans{Entries: []string{}}
	}
	return schema.Bans{File: b.Lists.DenyFile(), Entries: b.Lists.Denied()}
}

// Ban implements api.Access.
func (b *Backend) Ban(entry string) (schema.Ban, error) {
	return b.change(entry, schema.EventBan, (*access.Lists).Ban)
}

// Unban implements api.Access.
func (b *Backend) Unban(entry string) (schema.Ban, error) {
	return b.change(entry, schema.EventUnban, (*access.Lists).Unban)
}

func (b *Backend) change(entry, kind string, change func(*access.Lists, string) (access.Banned, error)) (schema.Ban, error) {
	if b.Lists == nil {
		return schema.Ban{}, fmt.Errorf("%w: the host of this node says itself who may come: start the node with a deny list", proto.ErrInvalidRequest)
	}
	done, err := change(b.Lists, entry)
	if _, wrong := errors.AsType[*access.EntryError](err); wrong || errors.Is(err, access.ErrNotListed) {
		return schema.Ban{}, fmt.Errorf("%w: %w", proto.ErrInvalidRequest, err)
	}
	if err != nil {
		return schema.Ban{}, err
	}
	ban := schema.Ban{Entry: done.Entry, Changed: done.Changed, Kept: done.Unkept == nil && b.Lists.DenyFile() != "", Closed: b.CloseRefused()}
	if done.Unkept != nil {
		ban.Why = done.Unkept.Error()
	}
	b.Log.Info("the deny list was changed", "what", kind, "entry", done.Entry, "kept", ban.Kept, "closed", ban.Closed)
	b.publish(schema.Event{Kind: kind, Text: done.Entry})
	return ban, nil
}
