package inspect

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/flags"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/local"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/terminal"
	"github.com/macula-mesh/macula-node/node/api/client"
	"github.com/macula-mesh/macula-node/node/api/schema"
)

// Records is the command that lists what is stored.
func Records() *cli.Command {
	return &cli.Command{
		Name: "records", Usage: "list the keys that the node here keeps, or the records of one",
		ArgsUsage: "[KEY | --service NAME | --topic NAME]",
		Description: flags.KeyHelp + `

Without a KEY it is a page of the keys; --cursor goes on where the page
before ended. Of one KEY each record is shown with its provider, whether that
is proved, who has stored it, and how long it lives.`,
		Flags: append(flags.Keys(), common(wide(),
			&cli.IntFlag{Name: "limit", Usage: "how many keys at most", Value: 100, Validator: func(n int) error {
				if n < 1 || n > 1000 {
					return flags.Usagef("want 1 to 1000, got %d", n)
				}
				return nil
			}},
			&cli.StringFlag{Name: "cursor", Usage: "`CURSOR` of the page, as the one before says"})...),
		Action: func(ctx context.Context, cmd *cli.Command) error {
			if !cmd.Args().Present() && cmd.String("service")+cmd.String("topic") == "" {
				return withNode(ctx, cmd, func(ctx context.Context, c *client.Client) error {
					page, err := c.Keys(ctx, cmd.String("cursor"), cmd.Int("limit"))
					if err != nil {
						return err
					}
					return print(cmd, page, func(out io.Writer) { keys(cmd, out, page) })
				})
			}
			key, _, err := flags.SplitKey(cmd, cmd.Args().Slice())
			if err != nil {
				return err
			}
			return withNode(ctx, cmd, func(ctx context.Context, c *client.Client) error {
				stored, err := c.Stored(ctx, key.Bytes)
				if err != nil {
					return err
				}
				return print(cmd, stored, func(out io.Writer) { records(cmd, out, key, stored) })
			})
		},
	}
}

func keys(cmd *cli.Command, out io.Writer, page schema.Keys) {
	if len(page.Keys) == 0 {
		fmt.Fprintln(out, "nothing is stored")
		return
	}
	fmt.Fprintln(out, "KEY\tRECORDS\tWITHDRAWN\tENDS IN")
	for _, k := range page.Keys {
		b, err := hex.DecodeString(k.Key)
		text := k.Key
		if err == nil {
			text = flags.Key{Bytes: b}.String()
		}
		fmt.Fprintf(out, "%s\t%d\t%d\t%s\n", short(cmd, text, 44), k.Records, k.Withdrawn, brief(time.Until(k.Expires)))
	}
	if page.Next != "" {
		fmt.Fprintf(out, "\nThere is more: --cursor %s\n", page.Next)
	}
}

func records(cmd *cli.Command, out io.Writer, key flags.Key, s schema.Stored) {
	if len(s.Records)+len(s.Withdrawn) == 0 {
		fmt.Fprintf(out, "nothing is stored under %s\n", key.Long())
		return
	}
	fmt.Fprintln(out, "PROVIDER\tPROVED\tOWNED\tSTORED BY\tENDS IN\tVALUE")
	for _, r := range s.Records {
		text, err := r.Value.MarshalJSON()
		if err != nil {
			text = []byte(err.Error())
		}
		fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\t%s\n", dash(id(cmd, r.NodeID)), yes(r.Proved), yes(r.Owned), id(cmd, r.Source), brief(time.Until(r.Expires)), short(cmd, string(text), 26))
	}
	for _, r := range s.Withdrawn {
		fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\twithdrawn\n", dash(id(cmd, r.NodeID)), yes(true), yes(true), id(cmd, r.Source), brief(time.Until(r.Expires)))
	}
}

func yes(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}

// Advertise is the command that has a value published until it is withdrawn.
func Advertise() *cli.Command {
	return &cli.Command{
		Name: "advertise", Usage: "have the node here publish a service, or a value",
		ArgsUsage: "--service NAME [ENDPOINT] | KEY VALUE",
		Description: flags.KeyHelp + `

A service is published as this node's own: where it is, ENDPOINT is such as
https://HOST:PORT; without it libp2p peers alone can call it. A VALUE is a
JSON object. It goes on after a restart, unless the node keeps its records in
memory.`,
		Flags: common(&cli.StringFlag{Name: "service", Usage: "`NAME` of the service"}, &cli.IntFlag{Name: "ttl", Usage: "`SECONDS` that a copy lives (default: what is usual)"}),
		Action: func(ctx context.Context, cmd *cli.Command) error {
			asked, unseen := schema.AdvertiseRequest{TTL: int64(cmd.Int("ttl"))}, func() {}
			n := cmd.Args().Len()
			if asked.Service = cmd.String("service"); asked.Service != "" {
				if n > 1 {
					return flags.Usagef("want at most one ENDPOINT, got %d arguments; %s", n, flags.UsageOf(cmd))
				}
				asked.Endpoint = cmd.Args().First()
				if err := errors.Join(flags.CheckText("--service", asked.Service), flags.CheckText("ENDPOINT", asked.Endpoint)); err != nil {
					return err
				}
			} else {
				key, rest, err := flags.SplitKey(cmd, cmd.Args().Slice(), "VALUE")
				if err != nil {
					return err
				}
				value, err := flags.ParseValue(rest[0])
				if err != nil {
					return err
				}
				asked.Key, asked.Value = hex.EncodeToString(key.Bytes), schema.Value{Raw: value.Raw}
				unseen = func() { local.NoteUnseen(cmd, value) }
			}
			return withNode(ctx, cmd, func(ctx context.Context, c *client.Client) error {
				done, err := client.Post[schema.Advertisement](ctx, c, "/v1/advertise", asked)
				if err != nil {
					return err
				}
				unseen()
				return print(cmd, done, func(out io.Writer) {
					saved := ", until the node ends"
					if done.Saved {
						saved = ", also after a restart"
					}
					fmt.Fprintf(out, "advertised under %s%s\n", done.Key, saved)
				})
			})
		},
	}
}

// Withdraw is the command that ends what Advertise began.
func Withdraw() *cli.Command {
	return &cli.Command{
		Name: "withdraw", Usage: "end what the node here advertises under a key",
		ArgsUsage:   "KEY | --service NAME | --topic NAME",
		Description: flags.KeyHelp,
		Flags:       append(flags.Keys(), common()...),
		Action: func(ctx context.Context, cmd *cli.Command) error {
			key, _, err := flags.SplitKey(cmd, cmd.Args().Slice())
			if err != nil {
				return err
			}
			return withNode(ctx, cmd, func(ctx context.Context, c *client.Client) error {
				done, err := client.Post[schema.Withdrawn](ctx, c, "/v1/withdraw", schema.WithdrawRequest{Key: hex.EncodeToString(key.Bytes)})
				if err != nil {
					return err
				}
				return print(cmd, done, func(out io.Writer) {
					fmt.Fprintf(out, "withdrawn: %s under %s\n", terminal.Plural(done.Withdrawn, "advertisement"), key)
				})
			})
		},
	}
}
