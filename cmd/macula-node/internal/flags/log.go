package flags

import (
	"io"
	"os"
	"slices"
	"strings"

	logging "github.com/ipfs/go-log/v2"
	"github.com/libp2p/go-libp2p/gologshim"
	"github.com/mattn/go-isatty"
	"github.com/urfave/cli/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/macula-mesh/macula-node/internal/logs"
	"github.com/macula-mesh/macula-node/internal/logs/early"
)

// Log are the flags of the logs.
func Log() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{
			Name: "log-level", Value: defaultLogLevel, Sources: Env(early.Variable),
			Usage: "`LEVEL` of what is logged to standard error, libp2p's logs too: debug, info, warn or error, and SUBSYSTEM=LEVEL for some, with commas between",
		},
		&cli.StringFlag{Name: "log-format", Value: "text", Sources: Env("GOLOG_LOG_FMT"), Usage: "`FORMAT` of the log: text or json"},
	}
}

// defaultLogLevel shows what a person wants to know: of libp2p, whose libraries
// tell at info what only their developers want to, the errors.
const defaultLogLevel = "error," + logs.Prefix + "*=info"

// SetupLogs has all logs, libp2p's and ours, written to out as the flags say.
func SetupLogs(cmd *cli.Command, out io.Writer) error {
	level, bySubsystem, err := parseLevels(cmd.String("log-level"))
	if err != nil {
		return err
	}
	encoder := zap.NewProductionEncoderConfig()
	encoder.EncodeTime = zapcore.ISO8601TimeEncoder
	encoder.EncodeDuration = zapcore.StringDurationEncoder
	var core zapcore.Core
	writer := zapcore.Lock(zapcore.AddSync(out))
	switch format := cmd.String("log-format"); format {
	case "json":
		core = zapcore.NewCore(logs.NewJSONEncoder(encoder), writer, zapcore.DebugLevel)
	case "text", "color", "nocolor":
		encoder.EncodeLevel = zapcore.CapitalLevelEncoder
		if format == "color" || format == "text" && isTerminal(out) {
			encoder.EncodeLevel = zapcore.CapitalColorLevelEncoder
		}
		encoder.CallerKey = ""
		core = zapcore.NewCore(logs.NewTextEncoder(encoder), writer, zapcore.DebugLevel)
	default:
		return Usagef("--log-format (GOLOG_LOG_FMT) %q: write text or json", format)
	}
	if name := cmd.String("name"); name != "" {
		core = core.With([]zapcore.Field{zap.String("name", name)})
	}
	logging.SetupLogging(logging.Config{Level: level, SubsystemLevels: bySubsystem})
	logging.SetPrimaryCore(core)
	gologshim.SetDefaultHandler(logs.Handler())
	logs.CaptureStandard()
	return nil
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
			return 0, nil, Usagef("--log-level (GOLOG_LOG_LEVEL) %q: %q is not debug, info, warn or error, nor SUBSYSTEM=LEVEL such as macula/dht=debug", text, part)
		}
		parsed, err := logging.Parse(name)
		if err != nil {
			return 0, nil, Usagef("--log-level (GOLOG_LOG_LEVEL) %q: %w", text, err)
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
			return 0, nil, Usagef("--log-level (GOLOG_LOG_LEVEL) %q: there is no subsystem %q, there are: %s", text, subsystem, strings.Join(similar(subsystem, known), ", "))
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
