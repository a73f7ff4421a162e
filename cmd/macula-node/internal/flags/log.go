package flags

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	logging "github.com/ipfs/go-log/v2"
	"github.com/libp2p/go-libp2p/gologshim"
	"github.com/mattn/go-isatty"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/macula-mesh/macula-node/internal/logs"
	"github.com/macula-mesh/macula-node/internal/logs/early"
)

// SetupLogs has all logs, libp2p's and ours, written to out, from a level on and in a format
// that were checked, under the name of the node where it has one.
func SetupLogs(out io.Writer, levels, format, name string) error {
	level, bySubsystem, err := parseLevels(levels)
	if err != nil {
		return err
	}
	if err := CheckFormat(format); err != nil {
		return err
	}
	encoder := zap.NewProductionEncoderConfig()
	encoder.EncodeTime = zapcore.ISO8601TimeEncoder
	encoder.EncodeDuration = zapcore.StringDurationEncoder
	var core zapcore.Core
	writer := zapcore.Lock(zapcore.AddSync(out))
	switch format {
	case "json":
		core = zapcore.NewCore(logs.NewJSONEncoder(encoder), writer, zapcore.DebugLevel)
	default:
		encoder.EncodeLevel = zapcore.CapitalLevelEncoder
		if format == "color" || format == "text" && isTerminal(out) {
			encoder.EncodeLevel = zapcore.CapitalColorLevelEncoder
		}
		encoder.CallerKey = ""
		core = zapcore.NewCore(logs.NewTextEncoder(encoder), writer, zapcore.DebugLevel)
	}
	if name != "" {
		core = core.With([]zapcore.Field{zap.String("name", name)})
	}
	logging.SetupLogging(logging.Config{Level: level, SubsystemLevels: bySubsystem})
	logging.SetPrimaryCore(core)
	gologshim.SetDefaultHandler(logs.Handler())
	logs.CaptureStandard()
	return nil
}

// CheckFormat refuses what is no format of a log.
func CheckFormat(format string) error {
	switch format {
	case "json", "text", "color", "nocolor":
		return nil
	}
	return errors.New("write text or json")
}

// CheckLevels refuses what names no level, or no subsystem of a log.
func CheckLevels(levels string) error {
	_, _, err := parseLevels(levels)
	return err
}

func isTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	return ok && isatty.IsTerminal(file.Fd())
}

// parseLevels reads a level, and those of subsystems, as GOLOG_LOG_LEVEL has them.
func parseLevels(text string) (level logging.LogLevel, bySubsystem map[string]logging.LogLevel, err error) {
	level, bySubsystem = logging.LevelError, make(map[string]logging.LogLevel)
	known := logs.Known()
	for part := range strings.SplitSeq(text, ",") {
		subsystem, name, ok := early.Cut(part)
		if !ok {
			return 0, nil, fmt.Errorf("%q is not debug, info, warn or error, nor SUBSYSTEM=LEVEL such as macula/dht=debug", part)
		}
		parsed, err := logging.Parse(name)
		if err != nil {
			return 0, nil, err
		}
		switch {
		case subsystem == "":
			level = parsed
		case subsystem == logs.Prefix+"*":
			for _, own := range logs.Subsystems() {
				bySubsystem[logs.Prefix+own] = parsed
			}
		case slices.Contains(known, subsystem):
			bySubsystem[subsystem] = parsed
		default:
			return 0, nil, fmt.Errorf("there is no subsystem %q, there are: %s", subsystem, strings.Join(similar(subsystem, known), ", "))
		}
	}
	return level, bySubsystem, nil
}

// similar returns the names that a name is part of, or part of it, its prefix aside;
// where there are none all of them.
func similar(name string, known []string) []string {
	name = strings.ToLower(strings.Trim(strings.TrimPrefix(name, logs.Prefix), "*"))
	var near []string
	for _, k := range known {
		bare := strings.TrimPrefix(k, logs.Prefix)
		if name != "" && (strings.Contains(strings.ToLower(bare), name) || strings.Contains(name, strings.ToLower(bare))) {
			near = append(near, k)
		}
	}
	if near == nil {
		return append([]string{logs.Prefix + "*"}, known...)
	}
	return near
}
