package view

import (
	"fmt"
	"slices"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/terminal"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/signed"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

// Values are values as JSON shows them, those first that are proved.
type Values struct {
	Values []wire.Raw `json:"values"`
	// ExpiresIn is how many seconds each has left, as the holder says; nil where it does
	// not.
	ExpiresIn []int64 `json:"expires_in,omitempty"`
	// Proved is whether each is proved to be of the node_id in it.
	Proved []bool `json:"proved"`
}

// ValuesOf returns those of an answer to what is stored under a key, with what their
// proofs are worth in a realm.
func ValuesOf(reply *wire.FindValueReply, key []byte, realm string) Values {
	verifier := signed.NewVerifier(realm)
	proved := func(i int) bool {
		if i >= len(reply.Proofs) || len(reply.Proofs[i]) == 0 {
			return false
		}
		v, err := values.Parse(reply.Values[i])
		if err == nil {
			_, err = verifier.Verify(key, v.Raw, v.NodeID, reply.Proofs[i])
		}
		return err == nil
	}
	var first, then []int
	for i := range reply.Values {
		if proved(i) {
			first = append(first, i)
		} else {
			then = append(then, i)
		}
	}
	shown := Values{Values: []wire.Raw{}, Proved: []bool{}}
	for _, i := range slices.Concat(first, then) {
		shown.Values = append(shown.Values, reply.Values[i])
		shown.Proved = append(shown.Proved, len(shown.Proved) < len(first))
		if i < len(reply.ExpiresIn) {
			shown.ExpiresIn = append(shown.ExpiresIn, reply.ExpiresIn[i])
		}
	}
	return shown
}

// ValuesFound returns those that a lookup has found.
func ValuesFound(found []lookup.FoundValue) Values {
	shown := Values{Values: []wire.Raw{}, Proved: []bool{}}
	for _, v := range found {
		shown.Values = append(shown.Values, v.Raw)
		shown.ExpiresIn = append(shown.ExpiresIn, int64(time.Until(v.Expires)/time.Second))
		shown.Proved = append(shown.Proved, v.Proof != nil)
	}
	return shown
}

// Print prints the values, one a line, and to standard error how many are proved, where
// that is wanted.
func (v Values) Print(cmd *cli.Command, tells bool) error {
	for _, value := range v.Values {
		text, err := value.MarshalJSON()
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(cmd.Root().Writer, "%s\n", text); err != nil {
			return err
		}
	}
	if tells && v.provide() {
		fmt.Fprintf(cmd.Root().ErrWriter, "macula-node: %s\n", v.told())
	}
	return nil
}

// provide reports whether a value says whose it is, so that it matters whether that is so.
func (v Values) provide() bool {
	return slices.ContainsFunc(v.Values, func(value wire.Raw) bool {
		_, named := value.Field("node_id")
		return named
	})
}

// told says how many of the values are proved.
func (v Values) told() string {
	proved := 0
	for _, is := range v.Proved {
		if is {
			proved++
		}
	}
	switch all := len(v.Values); {
	case proved == 0 && all == 1:
		return "the value is not proved to be of its node_id"
	case proved == 0:
		return fmt.Sprintf("none of the %d values is proved to be of its node_id", all)
	case all == 1:
		return "the value is proved to be of its node_id"
	case proved == 1:
		return fmt.Sprintf("the first of the %d values is proved to be of its node_id", all)
	default:
		return fmt.Sprintf("the first %s of %d are proved to be of their node_id", terminal.Plural(proved, "value"), all)
	}
}
