package page

import (
	"encoding/json"
	"fmt"
	"html/template"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dustin/go-humanize"

	"github.com/macula-mesh/macula-node/node/api/schema"
)

const (
	// maxText, maxLong and maxValue are how many characters are shown of a text, of one that may
	// be longer, and of a value.
	maxText  = 120
	maxLong  = 400
	maxValue = 2000
	// maxWord is how many are shown of a word of the API's own, should it be another.
	maxWord = 24
	// maxMarks is how many marks are shown on one character.
	maxMarks = 2
)

var functions = template.FuncMap{
	"text":      func(s string) string { return legible(s, maxText) },
	"long":      func(s string) string { return legible(s, maxLong) },
	"short":     short,
	"value":     valueText,
	"ago":       ago,
	"at":        func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
	"life":      func(seconds int64) string { return span(time.Duration(seconds) * time.Second) },
	"until":     func(t time.Time) string { return span(max(time.Until(t), 0)) },
	"ms":        milliseconds,
	"bytes":     func(n int64) string { return humanize.IBytes(uint64(max(n, 0))) },
	"group":     func(n int64) string { return humanize.Comma(n) },
	"count":     count,
	"since":     func(t time.Time) string { return ago(&t) },
	"words":     func(s string) string { return legible(strings.ReplaceAll(s, "_", " "), maxWord) },
	"percent":   func(share float64) string { return fmt.Sprintf("%.0f %%", 100*share) },
	"addresses": func(title string, all []schema.Address, reach bool) addresses { return addresses{title, all, reach} },
}

// addresses are a table of them.
type addresses struct {
	Title string
	All   []schema.Address
	Reach bool // whether the public reaches them is known of such
}

// legible is a text of anybody's, with its characters that can not be seen, or that turn what
// stands around them, as their codes, few marks on each, and its end cut off where it is long.
func legible(s string, most int) string {
	var out strings.Builder
	shown, marks := 0, 0
	for _, r := range s {
		if unicode.In(r, unicode.M) {
			if marks++; marks > maxMarks {
				continue
			}
		} else {
			marks = 0
		}
		if shown++; shown > most {
			out.WriteString("…")
			break
		}
		switch {
		case r == utf8.RuneError || !unicode.IsPrint(r):
			fmt.Fprintf(&out, "\\u{%x}", r)
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}

// short is an id that is long, by both of its ends.
func short(id string) string {
	const end = 8
	id = legible(id, 4*maxText)
	if runes := []rune(id); len(runes) > 2*end+2 {
		return string(runes[:end]) + "…" + string(runes[len(runes)-end:])
	}
	return id
}

// valueText is a value as JSON.
func valueText(v schema.Value) string {
	text, err := json.Marshal(v)
	if err != nil {
		return "it can not be shown: " + legible(err.Error(), maxText)
	}
	return legible(string(text), maxValue)
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return humanize.Comma(int64(n)) + " " + what
}

// ago says how long ago something was.
func ago(t *time.Time) string {
	if t == nil {
		return "–"
	}
	return span(max(time.Since(*t), 0)) + " ago"
}

// span is a duration in its two largest units.
func span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d days %d h", int(d.Hours())/24, int(d.Hours())%24)
}

func milliseconds(ms float64) string {
	switch {
	case ms <= 0:
		return "–"
	case ms < 10:
		return fmt.Sprintf("%.1f ms", ms)
	}
	return fmt.Sprintf("%.0f ms", ms)
}
