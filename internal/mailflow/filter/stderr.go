package filter

import (
	"bufio"
	"context"
	"log/slog"
	"os"
	"strings"

	"golang.org/x/time/rate"
)

// What a filter may say on standard error.
const (
	maxLogLine   = 2048 // bytes; the rest of a longer line is cut
	logPerSecond = 200  // lines; more are counted and dropped
	logBurst     = 2000

	readPerSecond = 8 << 20 // bytes, after readBurst; to throw more away would take a processor
	readBurst     = 8 << 20
)

// logStderr logs what a filter says, line by line, until it closes f. A filter
// that talks much is not held up; only one that does nothing else is.
func (w *worker) logStderr(f *os.File) {
	defer f.Close()
	log := w.h.opt.Log.With("filter", w.proc.name)
	limit := rate.NewLimiter(logPerSecond, logBurst)
	pace := rate.NewLimiter(readPerSecond, readBurst)
	dropped := 0
	r := bufio.NewReaderSize(f, maxLogLine)
	for {
		line, err := r.ReadSlice('\n')
		text := strings.ToValidUTF8(strings.TrimRight(string(line), "\r\n"), "\uFFFD")
		for err == bufio.ErrBufferFull {
			pace.WaitN(context.Background(), maxLogLine)
			_, err = r.ReadSlice('\n') // the rest of a line that is too long
		}
		pace.WaitN(context.Background(), len(text))
		switch {
		case text == "":
		case limit.Allow():
			if dropped > 0 {
				log.Warn("lines on standard error dropped", "count", dropped, "limit_per_second", logPerSecond)
				dropped = 0
			}
			level, text := logLevel(text)
			log.Log(context.Background(), level, text)
		default:
			dropped++
		}
		if err != nil {
			if dropped > 0 {
				log.Warn("lines on standard error dropped", "count", dropped, "limit_per_second", logPerSecond)
			}
			return
		}
	}
}

// logLevel takes a level from the beginning of a line, "warn: ..." or so.
func logLevel(line string) (slog.Level, string) {
	word, rest, ok := strings.Cut(line, ": ")
	if ok {
		switch word {
		case "debug":
			return slog.LevelDebug, rest
		case "info":
			return slog.LevelInfo, rest
		case "warn", "warning":
			return slog.LevelWarn, rest
		case "err", "error", "fatal":
			return slog.LevelError, rest
		}
	}
	return slog.LevelInfo, line
}
