package settings

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/flags"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/tomlfile"
)

// FileName is the configuration file in a data directory.
const FileName = "macula.toml"

// file is a configuration file that was read.
type file struct {
	name    string
	entries map[string]tomlfile.Entry // by the key of the setting
	errs    []error                   // of what is no setting
}

// readFile reads a configuration file. What is wrong with a key is one of its errs.
func readFile(name string) (*file, error) {
	read, err := tomlfile.Read(name)
	if err != nil {
		return nil, fmt.Errorf("the configuration can not be read: %w", err)
	}
	f := &file{name: name, entries: make(map[string]tomlfile.Entry)}
	known := sections()
	for _, s := range read.Sections {
		switch {
		case !slices.Contains(known, s.Name):
			near := ""
			if n := flags.Nearest(s.Name, known); n != "" {
				near = fmt.Sprintf(": did you mean [%s]?", n)
			}
			f.wrong(s.Line, "there is no section [%s]%s", s.Name, near)
		case s.Array:
			f.wrong(s.Line, "[[%s]]: write [%[1]s]", s.Name)
		}
	}
	for _, e := range read.Entries {
		if Lookup(e.Key) == nil {
			f.wrong(e.Line, "there is no setting %q%s", e.Key, suggested(e.Key))
			continue
		}
		f.entries[e.Key] = e
	}
	return f, nil
}

func (f *file) wrong(line int, format string, args ...any) {
	f.errs = append(f.errs, &fileError{f.name, line, fmt.Sprintf(format, args...)})
}

// fileError is what is wrong in a line of a file.
type fileError struct {
	file string
	line int
	text string
}

func (e *fileError) Error() string { return fmt.Sprintf("%s:%d: %s", e.file, e.line, e.text) }

// byLine has the errors of a file before others, in the order in which it is read.
func byLine(a, b error) int {
	line := func(err error) int {
		if of, is := errors.AsType[*fileError](err); is {
			return of.line
		}
		return math.MaxInt
	}
	return cmp.Compare(line(a), line(b))
}

// sections returns the names of the file's sections.
func sections() (names []string) {
	for _, s := range Table() {
		if section, _ := s.Section(); section != "" && !slices.Contains(names, section) {
			names = append(names, section)
		}
	}
	return names
}

// suggested says which setting may be meant, in words that go on from its name.
func suggested(key string) string {
	var keys []string
	for _, s := range Table() {
		section, name := s.Section()
		_, last, in := strings.Cut(key, ".")
		if !in {
			last = key
		}
		// as a flag, with underscores, or in another section
		if plain := strings.ReplaceAll(key, "_", "-"); plain == s.Flag || strings.ReplaceAll(last, "_", "-") == name || strings.ReplaceAll(plain, ".", "-") == s.Flag {
			if section == "" {
				return fmt.Sprintf(": write %s above all sections", name)
			}
			return fmt.Sprintf(": write %s in the section [%s]", name, section)
		}
		keys = append(keys, s.Key)
	}
	if near := flags.Nearest(key, keys); near != "" {
		return fmt.Sprintf(": did you mean %q?", near)
	}
	return ""
}

// texts returns what a file says of a setting, as a flag would; the error says what is
// allowed.
func (f *file) texts(s *Setting, value any) ([]string, error) {
	if text, is := value.(string); is {
		switch s.Kind {
		case Path:
			switch {
			case strings.HasPrefix(text, "~"):
				return nil, errors.New("write the whole path, ~ stands for nothing here")
			case text != "" && !filepath.IsAbs(text):
				text = absolute(filepath.Join(filepath.Dir(f.name), text))
			}
			return []string{text}, nil
		case Text, Size, Duration:
			return []string{text}, nil
		case Count, Rate:
			if text == "" {
				return []string{text}, nil
			}
		}
	}
	switch number, isWhole := value.(int64); {
	case s.Kind == Size && isWhole, s.Kind == Count && isWhole, s.Kind == Rate && isWhole, s.Kind == Text && s.number && isWhole:
		return []string{strconv.FormatInt(number, 10)}, nil
	}
	if number, is := value.(float64); is && s.Kind == Rate {
		return []string{strconv.FormatFloat(number, 'f', -1, 64)}, nil
	}
	if is, ok := value.(bool); ok && s.Kind == Bool {
		return []string{strconv.FormatBool(is)}, nil
	}
	if list, is := value.([]any); is && s.Kind == List {
		texts := []string{}
		for _, v := range list {
			text, is := v.(string)
			if !is {
				return nil, errors.New(`want a list of texts, such as ["a", "b"]`)
			}
			texts = append(texts, text)
		}
		return texts, nil
	}
	return nil, errors.New("want " + map[Kind]string{
		Text: "a text, in quotes", Path: "a path, in quotes", List: `a list of texts, such as ["a", "b"]`, Bool: "true or false, without quotes",
		Size: `a size, such as "64 MiB", or a number of bytes`, Duration: `a time with its unit, such as "5m" or "250ms"`,
		Count: "a whole number, without quotes", Rate: "a number, without quotes",
	}[s.Kind])
}

// absolute returns a path that means the same from everywhere.
func absolute(path string) string {
	if path == "" {
		return ""
	}
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}
