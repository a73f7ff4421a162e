package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	logging "github.com/ipfs/go-log/v2"
	"github.com/libp2p/go-libp2p/gologshim"
	"github.com/macula-mesh/macula-node/internal/logs"
	"github.com/mattn/go-isatty"
	"github.com/urfave/cli/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

func logFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{
			Name: "log-level", Value: defaultLogLevel, Sources: variables("GOLOG_LOG_LEVEL"),
			Usage: "`LEVEL` of what is logged to standard error, libp2p's logs too: debug, info, warn or error, and SUBSYSTEM=LEVEL for some, with commas between",
		},
		&cli.StringFlag{Name: "log-format", Value: "text", Sources: variables("GOLOG_LOG_FMT"), Usage: "`FORMAT` of the log: text or json"},
	}
}

// defaultLogLevel shows what a person wants to know: of libp2p, whose libraries
// tell at info what only their developers want to, the errors.
const defaultLogLevel = "error," + logs.Prefix + "*=info"

// setupLogs has all logs, libp2p's and ours, written to out as the flags say.
func setupLogs(cmd *cli.Command, out io.Writer) error {
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
		core = zapcore.NewCore(zapcore.NewJSONEncoder(encoder), writer, zapcore.DebugLevel)
	case "text", "color", "nocolor":
		encoder.EncodeLevel = zapcore.CapitalLevelEncoder
		if format == "color" || format == "text" && isTerminal(out) {
			encoder.EncodeLevel = zapcore.CapitalColorLevelEncoder
		}
		encoder.CallerKey = ""
		core = zapcore.NewCore(zapcore.NewConsoleEncoder(encoder), writer, zapcore.DebugLevel)
	default:
		return usagef("--log-format %q: write text or json", format)
	}
	if name := cmd.String("name"); name != "" {
		core = core.With([]zapcore.Field{zap.String("name", name)})
	}
	logging.SetupLogging(logging.Config{Level: level, SubsystemLevels: bySubsystem})
	logging.SetPrimaryCore(core)
	gologshim.SetDefaultHandler(logs.Handler())
	return nil
}

func isTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	return ok && isatty.IsTerminal(file.Fd())
}

// parseLevels reads a level, and those of subsystems, as GOLOG_LOG_LEVEL has them.
func parseLevels(text string) (level logging.LogLevel, bySubsystem map[string]logging.LogLevel, err error) {
	level, bySubsystem = logging.LevelError, make(map[string]logging.LogLevel)
	for part := range strings.SplitSeq(text, ",") {
		subsystem, name, of := strings.Cut(strings.TrimSpace(part), "=")
		if !of {
			name = subsystem
		}
		parsed, err := parseLevel(name)
		switch {
		case err != nil || of && subsystem == "":
			return 0, nil, usagef("--log-level %q: %q is not debug, info, warn or error, nor SUBSYSTEM=LEVEL such as macula/dht=debug", text, part)
		case subsystem == logs.Prefix+"*":
			for _, own := range logs.Subsystems() {
				bySubsystem[logs.Prefix+own] = parsed
			}
		case of:
			bySubsystem[subsystem] = parsed
		default:
			level = parsed
		}
	}
	return level, bySubsystem, nil
}

// parseLevel reads one of the four levels that anything here is logged at.
func parseLevel(name string) (logging.LogLevel, error) {
	switch name = strings.ToLower(name); name {
	case "debug", "info", "warn", "error":
		return logging.Parse(name)
	}
	return 0, fmt.Errorf("level %q", name)
}
