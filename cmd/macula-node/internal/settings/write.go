package settings

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/observe"
	"github.com/macula-mesh/macula-node/internal/wrap"
)

const header = `The configuration of macula-node, in TOML. What is commented out (#key = …)
is the default. An environment variable goes before what is written here, and
a flag before both: the flag of a key is the key with - for the dot,
--store-memory for memory in [store]. A path is relative to this file's
directory, and "" is as if a key were not written. A change holds when the node
is started anew; macula-node config check says what is wrong with it.`

// WriteTemplate writes a file that has every setting, commented out, with its default.
func WriteTemplate(out io.Writer) error {
	var text strings.Builder
	comment(&text, header)
	section := ""
	for _, s := range Table() {
		in, name := s.Section()
		if in != section {
			fmt.Fprintf(&text, "\n[%s]\n", in)
			section = in
		}
		said := s.prose()
		if len(s.Default) == 0 && s.Otherwise != "" {
			said += fmt.Sprintf(" (default: %s)", s.Otherwise)
		}
		text.WriteByte('\n')
		comment(&text, said+". "+s.Variable)
		fmt.Fprintf(&text, "#%s = %s\n", name, s.literal(s.Default))
	}
	_, err := io.WriteString(out, text.String())
	return err
}

func comment(out io.Writer, text string) {
	for _, line := range wrap.Words(strings.Join(strings.Fields(text), " "), wrap.Columns-2) {
		fmt.Fprintf(out, "# %s\n", line)
	}
}

// literal writes a value as it is in the file.
func (s *Setting) literal(texts []string) string {
	switch {
	case s.Kind == List:
		quoted := make([]string, len(texts))
		for i, text := range texts {
			quoted[i] = quote(text)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	case len(texts) == 0:
		return `""`
	case s.Kind == Bool || s.Kind == Count || s.Kind == Rate:
		return texts[0]
	}
	return quote(texts[0])
}

// quote writes a text as a basic string of TOML.
func quote(text string) string {
	var quoted strings.Builder
	quoted.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			quoted.WriteByte('\\')
			quoted.WriteRune(r)
		case strconv.IsPrint(r):
			quoted.WriteRune(r)
		default:
			fmt.Fprintf(&quoted, `\U%08X`, r)
		}
	}
	quoted.WriteByte('"')
	return quoted.String()
}

// hidden reports whether a text has a password or a token, and returns it without. An
// endpoint's may be anywhere before an @, another setting's in a URL alone.
func (s *Setting) hidden(text string) (shown string, is bool) {
	if !s.endpoint && !strings.Contains(text, "://") {
		return text, false
	}
	return observe.Masked(text)
}

// shown returns the texts of a value without passwords.
func (v Value) shown() []string {
	shown := make([]string, len(v.Texts))
	for i, text := range v.Texts {
		shown[i], _ = v.hidden(text)
	}
	return shown
}

// literal writes what is shown as it is in a file, wherever that is.
func (v Value) literal() string {
	texts := v.shown()
	if v.Kind == Path && len(texts) > 0 {
		texts[0] = absolute(texts[0])
	}
	return v.Setting.literal(texts)
}

// secret reports whether a value has a password, which is not shown.
func (v Value) secret() bool {
	for _, text := range v.Texts {
		if _, is := v.hidden(text); is {
			return true
		}
	}
	return false
}

// WriteText writes what is in force as a file that has it be in force elsewhere, each value
// with where it comes from. Defaults, and what has a password, are commented out.
func (e *Effective) WriteText(out io.Writer) error {
	var text strings.Builder
	section := ""
	for _, v := range e.Values {
		in, name := v.Section()
		if in != section {
			fmt.Fprintf(&text, "\n[%s]\n", in)
			section = in
		}
		mark, where := "", v.Where()
		switch {
		case v.secret():
			mark, where = "#", where+", its password is not shown"
		case v.Source == FromDefault:
			mark = "#"
			if len(v.Texts) == 0 && v.Otherwise != "" {
				where = "default: " + v.Otherwise
			}
		}
		fmt.Fprintf(&text, "%s%s = %s  # %s\n", mark, name, v.literal(), strings.Map(printable, where))
	}
	_, err := io.WriteString(out, text.String())
	return err
}

func printable(r rune) rune {
	if strconv.IsPrint(r) {
		return r
	}
	return -1
}

// Shown is a value as --json shows it.
type Shown struct {
	Key       string `json:"key"`
	Value     any    `json:"value"` // as in the file; null where there is none
	Source    Source `json:"source"`
	Where     string `json:"where"`
	Otherwise string `json:"otherwise,omitempty"` // what holds where there is no value
	Hidden    bool   `json:"hidden,omitempty"`    // it has a password that is not shown
}

// Shown returns what is in force.
func (e *Effective) Shown() (all []Shown) {
	for _, v := range e.Values {
		s := Shown{Key: v.Key, Source: v.Source, Where: v.Where(), Hidden: v.secret()}
		switch {
		case v.Kind == List:
			s.Value = v.shown()
		case len(v.Texts) == 0:
			s.Otherwise = v.Otherwise
		case v.Kind == Bool:
			s.Value = v.Texts[0] == "true"
		case v.Kind == Count || v.Kind == Rate:
			s.Value = json.Number(v.Texts[0])
		default:
			s.Value = v.shown()[0]
		}
		all = append(all, s)
	}
	return all
}

// WriteMarkdown writes the table of all settings for the documentation.
func WriteMarkdown(out io.Writer) error {
	var text strings.Builder
	fmt.Fprintln(&text, "| key | flag, variable | kind | default | what |\n|---|---|---|---|---|")
	for _, s := range Table() {
		value := "`" + strings.Join(s.Default, ",") + "`"
		switch {
		case s.Key == "data-dir":
			value = "`~/.macula-node`"
		case len(s.Default) == 0:
			value = s.Otherwise
		}
		fmt.Fprintf(&text, "| `%s` | `--%s` `%s` | %s | %s | %s |\n", s.Key, s.Flag, s.Variable, s.Kind, value, s.prose())
	}
	_, err := io.WriteString(out, text.String())
	return err
}
