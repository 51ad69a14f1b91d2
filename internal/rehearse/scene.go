package rehearse

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/weirmail/weir/internal/filterwire"
	"github.com/weirmail/weir/protocol"
)

// Scene is what is played to a filter: the server's lines, in their order,
// and the answers that were recorded, if it is a recording.
type Scene struct {
	Name  string
	steps []step
}

// step is one line of the server, or of the filter.
type step struct {
	number  int    // line of the file, 0 if it comes from none
	answer  bool   // the filter's: recorded, not sent
	line    []byte // all of it, without LF
	kind    string // config, report, filter; filter-result, ...
	name    string // event or phase
	session uint64
	token   uint64
	head    string // "0.7|1700000000.000137|smtp-in"
	rest    string // what follows session and token

	awaited bool // a question or dot whose answer must be there before the session goes on
	pause   bool // not a line: wait until the filter has nothing more to say
}

// maxRecordedLine bounds a line of a recording, in bytes: the longest that a
// filter may send, and the mark.
const maxRecordedLine = filterwire.MaxLine + 64

// ReadScene reads a recording: "< " begins a line of the server, "> " one of
// the filter, "#" and "!" a note. An error names the line.
func ReadScene(name string, r io.Reader) (*Scene, error) {
	sc := &Scene{Name: name}
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), maxRecordedLine)
	lines.Split(scanLF)
	for n := 1; lines.Scan(); n++ {
		text := lines.Bytes()
		switch {
		case len(text) == 0, text[0] == '#', text[0] == '!':
			continue
		case len(text) < 2 || text[1] != ' ' || text[0] != '<' && text[0] != '>':
			return nil, fmt.Errorf("%s:%d: %.60q is no line of a recording: expected \"< \", \"> \", \"#\" or \"! \" at its beginning", name, n, text)
		}
		st, err := parseStep(bytes.Clone(text[2:]))
		if err != nil && text[0] == '<' {
			return nil, fmt.Errorf("%s:%d: %w", name, n, err)
		}
		st.number, st.answer = n, text[0] == '>'
		sc.steps = append(sc.steps, st)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(sc.steps) == 0 {
		return nil, fmt.Errorf("%s: there is no line of a server or a filter in it", name)
	}
	sc.await()
	return sc, nil
}

// scanLF splits at LF alone: a CR is part of its line.
func scanLF(data []byte, atEOF bool) (int, []byte, error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}

// parseStep takes a line of either side apart.
func parseStep(line []byte) (step, error) {
	st := step{line: line}
	f := strings.SplitN(string(line), "|", 8)
	st.kind = f[0]
	var err error
	switch {
	case st.kind == "config":
		return st, nil
	case st.kind == "report" && len(f) >= 6:
		st.name, st.head, st.rest = f[4], strings.Join(f[1:4], "|"), strings.Join(f[6:], "|")
		st.session, err = parseID(f[5])
	case st.kind == "filter" && len(f) == 8:
		st.name, st.head, st.rest = f[4], strings.Join(f[1:4], "|"), f[7]
		if st.session, err = parseID(f[5]); err == nil {
			st.token, err = parseID(f[6])
		}
	case (st.kind == "filter-result" || st.kind == "filter-dataline") && len(f) >= 4:
		st.rest = strings.Join(f[3:], "|")
		if st.session, err = parseID(f[1]); err == nil {
			st.token, err = parseID(f[2])
		}
	default:
		err = fmt.Errorf("%.60q is neither config|..., report|... nor filter|... with all its fields", line)
	}
	return st, err
}

func parseID(s string) (uint64, error) {
	v, err := strconv.ParseUint(s, 16, 64)
	if err != nil {
		return 0, fmt.Errorf("%.40q is no session and no token: expected 16 hex digits", s)
	}
	return v, nil
}

// await marks the questions and dots whose answers were there before the
// session went on; an unanswered one was given up by the client.
func (sc *Scene) await() {
	open := make(map[uint64]int) // by session: the step that waits
	for i := range sc.steps {
		st := &sc.steps[i]
		switch {
		case st.kind == "filter" && (st.name != filterwire.DataLine.String() || st.rest == "."):
			open[st.session] = i
		case st.answer && (st.kind == "filter-result" || st.kind == "filter-dataline" && st.rest == "."):
			if at, ok := open[st.session]; ok && sc.steps[at].token == st.token {
				sc.steps[at].awaited = true
				delete(open, st.session)
			}
		case !st.answer && st.kind != "config":
			delete(open, st.session)
		}
	}
}

// shifted gives the scene with sessions and messages of its own, so that one
// process can be played many scenes. Tokens stay: they belong to the server.
func (sc *Scene) shifted(n int) *Scene {
	out := &Scene{Name: sc.Name, steps: make([]step, len(sc.steps))}
	for i, st := range sc.steps {
		if st.kind != "config" && st.session != 0 {
			st.session += uint64(n) << 24
		}
		if st.kind == "report" && strings.HasPrefix(st.name, "tx-") && len(st.rest) >= 8 {
			if id, err := strconv.ParseUint(st.rest[:8], 16, 32); err == nil && id != 0 {
				id, envelope := uint32(id)+uint32(n)<<20, st.rest[8:]
				if st.name == "tx-envelope" && len(envelope) == 17 {
					envelope = fmt.Sprintf("|%08x%s", id, envelope[9:])
				}
				st.rest = fmt.Sprintf("%08x%s", id, envelope)
			}
		}
		st.line = nil // no longer what it says
		out.steps[i] = st
	}
	for i, st := range sc.steps {
		if st.kind == "config" {
			out.steps[i].line = st.line
		}
	}
	return out
}

// config gives the lines of the handshake.
func (sc *Scene) config() []byte {
	var b []byte
	for _, st := range sc.steps {
		if st.kind == "config" && !st.answer {
			b = append(append(b, st.line...), '\n')
		}
	}
	return b
}

// version is what the server of the scene speaks.
func (sc *Scene) version() filterwire.Protocol {
	if bytes.Contains(sc.config(), []byte("config|protocol|")) {
		return filterwire.V07
	}
	return filterwire.V06
}

// transcripts gives the scenes of protocol/transcripts.
func transcripts() ([]*Scene, error) {
	files, err := fs.Glob(protocol.Transcripts, "transcripts/*.txt")
	if err != nil {
		return nil, err
	}
	var scenes []*Scene
	for _, file := range files {
		b, err := protocol.Transcripts.ReadFile(file)
		if err != nil {
			return nil, err
		}
		sc, err := ReadScene(path.Base(file), bytes.NewReader(b))
		if err != nil {
			return nil, err
		}
		scenes = append(scenes, sc)
	}
	return scenes, nil
}

// sessions gives the scene's sessions in the order in which they begin.
func (sc *Scene) sessions() []uint64 {
	var ids []uint64
	for _, st := range sc.steps {
		if st.session != 0 && !slices.Contains(ids, st.session) {
			ids = append(ids, st.session)
		}
	}
	return ids
}
