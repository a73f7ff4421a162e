package settings

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// Kind is what a setting's value is.
type Kind string

// The kinds.
const (
	Text     Kind = "text"
	Path     Kind = "path" // of a file or directory; in the file relative to the file's directory
	List     Kind = "list" // of texts; in a variable with commas between
	Bool     Kind = "true or false"
	Size     Kind = "bytes"
	Duration Kind = "time"
	Count    Kind = "number"
	Rate     Kind = "number a second"
)

// Setting is one thing that can be set.
type Setting struct {
	Key      string // in the file, SECTION.NAME or NAME
	Flag     string // without --
	Variable string // of the environment
	Kind     Kind
	// Usage says in a few words what it is, with the word for its value in `…`.
	Usage string
	// Default is the value where nothing is set; nothing where there is none, and then
	// Otherwise may say in words what holds.
	Default   []string
	Otherwise string
	// Limit is of how much the node does, rather than of what.
	Limit bool

	field       string // in Config
	least, most int64  // of a number, bytes or nanoseconds
	word        bool   // of a Bool: its flag has its value behind it
	number      bool   // of a Text: may be written as a number in the file
	endpoint    bool   // of a Text: may have a password, however it is written
	check       func(text string) error
}

// Section returns the section of the file that a setting is in, nothing for none, and its
// name there.
func (s *Setting) Section() (section, name string) {
	section, name, in := strings.Cut(s.Key, ".")
	if !in {
		return "", section
	}
	return section, name
}

// flagName is how the command line names a setting, and the environment.
func (s *Setting) flagName() string { return fmt.Sprintf("--%s (%s)", s.Flag, s.Variable) }

// prose is the usage without its marks.
func (s *Setting) prose() string { return strings.ReplaceAll(s.Usage, "`", "") }

func (s *Setting) in(c *Config) reflect.Value {
	v := reflect.ValueOf(c).Elem()
	for name := range strings.SplitSeq(s.field, ".") {
		v = v.FieldByName(name)
	}
	return v
}

// set has a configuration say what texts, of which only a List has not one, mean. The
// error says what is allowed.
func (s *Setting) set(c *Config, texts []string) error {
	field := s.in(c)
	if s.Kind == List {
		for _, text := range texts {
			if s.check != nil {
				if err := s.check(text); err != nil {
					return err
				}
			}
		}
		field.Set(reflect.ValueOf(texts))
		return nil
	}
	text := texts[0]
	if strings.TrimSpace(text) == "" && s.Key != "data-dir" { // of which nobody wants the default then
		return nil // as if it were not set
	}
	if s.check != nil {
		if err := s.check(text); err != nil {
			return err
		}
	}
	switch s.Kind {
	case Bool:
		is, err := strconv.ParseBool(strings.TrimSpace(text))
		if err != nil {
			return errors.New("write true or false")
		}
		field.SetBool(is)
	case Size:
		n, err := s.parseSize(text)
		if err != nil {
			return err
		}
		field.SetInt(n)
	case Duration:
		d, err := time.ParseDuration(strings.TrimSpace(text))
		if err != nil {
			return errors.New("write a time with its unit, such as 5m or 250ms")
		}
		if err := s.bound(int64(d)); err != nil {
			return err
		}
		field.SetInt(int64(d))
	case Count:
		n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
		if err != nil {
			return fmt.Errorf("want %s", s.allowed())
		}
		if err := s.bound(n); err != nil {
			return err
		}
		field.SetInt(n)
	case Rate:
		f, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
		if err != nil || !(f > 0) || math.IsInf(f, 0) {
			return errors.New("want a number above 0")
		}
		field.SetFloat(f)
	default:
		field.SetString(text)
	}
	return nil
}

// maxSize is more than any machine has.
const maxSize = 1 << 50

func (s *Setting) parseSize(text string) (int64, error) {
	bytes, err := humanize.ParseBytes(text)
	if err != nil || strings.HasPrefix(strings.TrimSpace(text), "-") {
		return 0, errors.New("write a size such as 64MiB, or a number of bytes")
	}
	return int64(min(bytes, math.MaxInt64)), s.bound(int64(min(bytes, math.MaxInt64)))
}

func (s *Setting) bound(n int64) error {
	if n < s.least || n > s.most {
		return fmt.Errorf("want %s", s.allowed())
	}
	return nil
}

// allowed says which numbers are.
func (s *Setting) allowed() string {
	switch {
	case s.Kind == Size:
		return fmt.Sprintf("%s to %s", sizeText(s.least), sizeText(s.most))
	case s.Kind == Duration && s.least == 0:
		return "no time or more"
	case s.Kind == Duration:
		return fmt.Sprintf("%s or more", durationText(time.Duration(s.least)))
	case s.most == math.MaxInt32:
		return fmt.Sprintf("a whole number, %d or more", s.least)
	}
	return fmt.Sprintf("%d to %d", s.least, s.most)
}

// text returns what a configuration says, in the way that it is written.
func (s *Setting) text(c *Config) []string {
	field := s.in(c)
	switch s.Kind {
	case List:
		return field.Interface().([]string)
	case Bool:
		return []string{strconv.FormatBool(field.Bool())}
	case Rate:
		return []string{strconv.FormatFloat(field.Float(), 'f', -1, 64)}
	case Size, Duration, Count:
		n := field.Int()
		switch {
		case n == 0 && s.least > 0: // not set, and worked out
			return nil
		case s.Kind == Size:
			return []string{sizeText(n)}
		case s.Kind == Duration:
			return []string{durationText(time.Duration(n))}
		}
		return []string{strconv.FormatInt(n, 10)}
	}
	if field.String() == "" {
		return nil
	}
	return []string{field.String()}
}

// sizeText writes a size exactly, and as short as that can be.
func sizeText(bytes int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	unit := 0
	for bytes > 0 && bytes%1024 == 0 && unit < len(units)-1 {
		bytes, unit = bytes/1024, unit+1
	}
	return fmt.Sprintf("%d %s", bytes, units[unit])
}

// durationText writes a time without the zeros behind it.
func durationText(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
