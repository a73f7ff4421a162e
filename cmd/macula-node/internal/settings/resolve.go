package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/flags"
)

// Source is where the value of a setting comes from.
type Source string

// The sources; each goes before those above it.
const (
	FromDefault     Source = "default"
	FromFile        Source = "file"
	FromEnvironment Source = "environment"
	FromFlag        Source = "flag"
)

func (s Source) rank() int {
	return slices.Index([]Source{FromDefault, FromFile, FromEnvironment, FromFlag}, s)
}

// Value is what is in force of a setting.
type Value struct {
	*Setting
	Texts  []string // one, but of a List; none where it is not set and has no default
	Source Source
	File   string // with FromFile
	Line   int
}

// Where says in a few words where the value comes from.
func (v Value) Where() string {
	switch v.Source {
	case FromFile:
		return fmt.Sprintf("%s:%d", v.File, v.Line)
	case FromEnvironment:
		return v.Variable
	case FromFlag:
		return "--" + v.Flag
	}
	return string(v.Source)
}

// name names the setting to who has to set it otherwise.
func (v Value) name() string {
	if v.Source == FromFile {
		return fmt.Sprintf("%s:%d: %s", v.File, v.Line, v.Key)
	}
	return v.flagName()
}

// wrong is the error of a value.
func (v Value) wrong(err error) error {
	text := strings.Join(v.shown(), ",")
	if v.Source == FromFile {
		return &fileError{v.File, v.Line, fmt.Sprintf("%s %q: %v", v.Key, text, err)}
	}
	return fmt.Errorf("%s %q: %w", v.flagName(), text, err)
}

// Effective is what is in force.
type Effective struct {
	Config Config
	Values []Value // of the settings that were asked for, in the order of the table
	File   string  // that was read, or none
}

// Of returns what is in force of a setting by its key.
func (e *Effective) Of(key string) Value {
	if i := slices.IndexFunc(e.Values, func(v Value) bool { return v.Key == key }); i >= 0 {
		return e.Values[i]
	}
	return Value{Setting: Lookup(key), Source: FromDefault}
}

// Given is what a command line says.
type Given struct {
	// Flag returns what was typed for a flag, and whether it was; see Typed.
	Flag func(name string) ([]string, bool)
	// Wanted says which settings are asked for, by their keys; nil for all.
	Wanted func(key string) bool
	// File is the configuration file that was typed; empty for MACULA_CONFIG, and without
	// that for the one in the data directory, if there is one.
	File string
	// NamedOnly passes over the file in the data directory.
	NamedOnly bool
}

// Resolve returns what is in force, or all that is wrong. Wrong values of settings that are
// not asked for are passed over.
func Resolve(given Given) (*Effective, error) {
	e := &Effective{Config: defaults()}
	f, err := openFile(given)
	if err != nil {
		return nil, flags.Usage(err)
	}
	var errs []error
	if f != nil {
		e.File = f.name
		if given.Wanted == nil {
			errs = append(errs, f.errs...)
		}
	}
	for _, s := range Table() {
		if given.Wanted != nil && !given.Wanted(s.Key) {
			continue
		}
		v, err := valueOf(s, given, f)
		if err == nil && v.Source != FromDefault {
			if err = s.set(&e.Config, v.Texts); err != nil {
				err = v.wrong(err)
			} else {
				v.Texts = s.text(&e.Config)
			}
		}
		if err != nil {
			errs = append(errs, err)
		}
		e.Values = append(e.Values, v)
	}
	if v := e.Of("data-dir"); v.Source == FromFile && given.named() == "" && !sameFile(v.Texts, filepath.Dir(v.File)) {
		errs = append(errs, v.wrong(errors.New("the file in a data directory can not name another one: name the file by --config")))
	}
	if given.Wanted == nil {
		errs = append(errs, e.settlePort())
	}
	slices.SortStableFunc(errs, byLine)
	if err := errors.Join(errs...); err != nil {
		return nil, flags.Usage(err)
	}
	return e, nil
}

func sameFile(names []string, other string) bool {
	if len(names) == 0 {
		return false
	}
	a, errA := os.Stat(names[0])
	b, errB := os.Stat(other)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// settlePort has listen addresses and the port, of which only one can be, give way to that
// whose source goes before the other's.
func (e *Effective) settlePort() error {
	port, listen := e.value("port"), e.value("listen")
	if len(e.Config.Listen) == 0 {
		return nil
	}
	if port.Source == listen.Source {
		return fmt.Errorf("%s %d and %s %s: write one of them, a listen address has its port in it", port.name(), e.Config.Port, listen.name(), e.Config.Listen[0])
	}
	if port.Source.rank() < listen.Source.rank() {
		e.Config.Port = 0
		*port = Value{Setting: port.Setting, Source: FromDefault}
	} else {
		e.Config.Listen = nil
		*listen = Value{Setting: listen.Setting, Source: FromDefault}
	}
	return nil
}

func (e *Effective) value(key string) *Value {
	return &e.Values[slices.IndexFunc(e.Values, func(v Value) bool { return v.Key == key })]
}

// valueOf returns what a setting's last source says.
func valueOf(s *Setting, given Given, f *file) (Value, error) {
	v := Value{Setting: s, Texts: s.Default, Source: FromDefault}
	if f != nil {
		if e, is := f.entries[s.Key]; is {
			texts, err := f.texts(s, e.Value)
			v = Value{s, texts, FromFile, f.name, e.Line}
			if err != nil {
				v.Texts = []string{fmt.Sprint(e.Value)}
				return v, v.wrong(err)
			}
		}
	}
	if text := os.Getenv(s.Variable); text != "" {
		v = Value{Setting: s, Texts: []string{text}, Source: FromEnvironment}
		if s.Kind == List {
			v.Texts = flags.Trimmed(strings.Split(text, ","))
		}
	}
	if texts, typed := given.Flag(s.Flag); typed {
		v = Value{Setting: s, Texts: texts, Source: FromFlag}
		if s.Kind == List {
			v.Texts = flags.Trimmed(texts)
		}
	}
	return v, nil
}

// openFile returns the configuration file, nil where there is none.
func openFile(given Given) (*file, error) {
	name := given.named()
	if name == "" {
		if given.NamedOnly {
			return nil, nil
		}
		name = given.usual()
		if _, err := os.Stat(name); name == "" || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return nil, nil // what can not be read there is for who opens the directory to say
		}
	}
	return readFile(name)
}

// named returns the file that is named, by the command line or by the variable.
func (g Given) named() string {
	if g.File != "" {
		return g.File
	}
	return os.Getenv(Variable)
}

// usual returns the file of the data directory; nothing where there is none.
func (g Given) usual() string {
	dir := defaultDataDir()
	if text := os.Getenv(Lookup("data-dir").Variable); text != "" {
		dir = text
	}
	if texts, typed := g.Flag("data-dir"); typed {
		dir = texts[0]
	}
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, FileName)
}
