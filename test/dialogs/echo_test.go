package dialogs

import (
	"bufio"
	"bytes"
	"io"
)

// echoFilter is the argument that makes the test binary a filter.
const echoFilter = "echo-filter"

// runEchoFilter is a filter that registers data-line alone and gives each line
// back as it is, with the plainest means: the server must do with that.
func runEchoFilter(in io.Reader, out io.Writer) {
	r, w := bufio.NewReaderSize(in, 128<<10), bufio.NewWriterSize(out, 128<<10)
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return // the server has gone
		}
		switch {
		case bytes.Equal(line, []byte("config|ready\n")):
			w.WriteString("register|filter|smtp-in|data-line\nregister|ready\n")
		case bytes.HasPrefix(line, []byte("filter|")):
			// filter|0.7|time|smtp-in|data-line|session|token|line
			if f := bytes.SplitN(line, []byte("|"), 8); len(f) == 8 {
				w.WriteString("filter-dataline|")
				w.Write(bytes.Join(f[5:], []byte("|")))
			}
		}
		if r.Buffered() == 0 {
			w.Flush()
		}
	}
}
