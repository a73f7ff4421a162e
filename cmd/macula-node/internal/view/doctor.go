package view

import (
	"encoding/hex"
	"fmt"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/terminal"
	"github.com/macula-mesh/macula-node/compat/doctor"
)

// reportView is a report as JSON shows it; times are in ms.
type reportView struct {
	Endpoint   string      `json:"endpoint"`
	OK         bool        `json:"ok"`
	Verdict    string      `json:"verdict"`
	Reachable  bool        `json:"reachable"`
	Realm      string      `json:"realm,omitempty"`
	ClientID   string      `json:"client_id,omitempty"`
	NodeID     string      `json:"node_id,omitempty"`
	Handshake  float64     `json:"handshake_ms,omitempty"`
	P50        float64     `json:"rtt_p50_ms,omitempty"`
	P99        float64     `json:"rtt_p99_ms,omitempty"`
	Neighbours []Gateway   `json:"neighbours"`
	Written    string      `json:"written_key,omitempty"`
	Checks     []checkView `json:"checks"`
}

type checkView struct {
	Check    string        `json:"check"`
	Result   doctor.Result `json:"result"`
	Seen     string        `json:"seen"`
	Expected string        `json:"expected"`
	Took     float64       `json:"ms,omitempty"`
	Advice   string        `json:"advice,omitempty"`
}

// Report prints what the doctor has found.
func Report(cmd *cli.Command, r *doctor.Report) error {
	if !cmd.Bool("json") {
		_, err := fmt.Fprint(cmd.Root().Writer, r)
		return err
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	shown := reportView{
		Endpoint:   r.Endpoint,
		OK:         r.OK(),
		Verdict:    r.Verdict(),
		Reachable:  r.Reachable,
		Realm:      r.Realm,
		ClientID:   r.ClientID,
		NodeID:     hex.EncodeToString(r.NodeID),
		Handshake:  ms(r.Handshake),
		P50:        ms(r.P50),
		P99:        ms(r.P99),
		Neighbours: GatewaysOf(r.Neighbours),
		Written:    hex.EncodeToString(r.Written),
	}
	for _, c := range r.Checks {
		shown.Checks = append(shown.Checks, checkView{c.Name, c.Result, c.Seen, c.Expected, ms(c.Took), c.Advice})
	}
	return terminal.PrintJSON(cmd, shown)
}
