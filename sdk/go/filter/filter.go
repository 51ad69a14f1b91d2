package filter

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
)

// MaxLine is how many bytes a line of the server may have, LF excluded. A
// longer one ends the filter with an error.
const MaxLine = 1 << 20

// Filter is a set of handlers. Make it with New, add handlers, then Run or
// Serve it; adding handlers to one that runs is a mistake.
type Filter struct {
	questions map[Phase]func(*Question)
	reports   map[Event]func(*Report)
	message   func(*Message)
	want      []Feature
}

// New gives a Filter without handlers.
func New() *Filter {
	return &Filter{
		questions: make(map[Phase]func(*Question)),
		reports:   make(map[Event]func(*Report)),
	}
}

// On has handler called for each question of phase. The handler answers it,
// or sees to it that some goroutine does.
func (f *Filter) On(phase Phase, handler func(*Question)) {
	known := []Phase{Connect, Helo, Ehlo, StartTLS, Auth, MailFrom, RcptTo, Data, Commit, Rset, Quit, Noop}
	if !slices.Contains(known, phase) {
		panic(fmt.Sprintf("filter: On: no phase %q", phase))
	}
	f.questions[phase] = handler
}

// OnReport has handler called for each report of event. Reports are news:
// nothing is answered.
func (f *Filter) OnReport(event Event, handler func(*Report)) {
	if !slices.Contains(allEvents, event) {
		panic(fmt.Sprintf("filter: OnReport: no event %q", event))
	}
	f.reports[event] = handler
}

// OnMessage has handler called, in a goroutine of its own, for each message.
// Without it no message lines come to the filter at all.
func (f *Filter) OnMessage(handler func(*Message)) { f.message = handler }

// Want asks for features. Those that the server does not offer stay off.
func (f *Filter) Want(features ...Feature) { f.want = append(f.want, features...) }

var allEvents = []Event{
	LinkConnect, LinkGreeting, LinkIdentify, LinkTLS, LinkAuth, LinkDisconnect,
	TxReset, TxBegin, TxMail, TxRcpt, TxEnvelope, TxData, TxCommit, TxRollback,
	ProtocolClient, ProtocolServer, FilterReport, FilterResponse, Timeout,
}

// needed are the events that Session and the end of messages are made of.
var needed = []Event{LinkConnect, LinkGreeting, LinkIdentify, LinkTLS, LinkAuth, LinkDisconnect}

// Run serves f on standard input and output until the server ends it, then
// ends the program: status 0, or 1 with the reason in the log. Started by
// hand, it says what the program is and how to plug it in.
func (f *Filter) Run() {
	if info, err := os.Stdin.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		fmt.Fprintf(os.Stderr, "%s is a mail filter. The mail server starts it; in its configuration:\n\n"+
			"    filter NAME proc-exec \"%s\"\n    listen on ... filter NAME\n", os.Args[0], os.Args[0])
		os.Exit(0)
	}
	protocol := os.Stdout
	os.Stdout = os.Stderr // what the program prints is log
	if err := f.Serve(os.Stdin, protocol); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Serve speaks the protocol on r and w until r ends, and gives nil then. Any
// other end is an error. Message handlers that still run are told that their
// transactions are gone, and waited for.
func (f *Filter) Serve(r io.Reader, w io.Writer) error {
	s := &server{f: f, out: newOutput(w), sessions: make(map[uint64]*Session)}
	err := s.read(bufio.NewReaderSize(r, 1<<18))
	for _, session := range s.sessions {
		s.abort(session)
	}
	s.handlers.Wait()
	if werr := s.out.close(); err == nil && werr != nil {
		err = fmt.Errorf("filter: answering the server: %w", werr)
	}
	if err == nil && !s.ready {
		err = errors.New("filter: the server ended before config|ready")
	}
	return err
}

// server is one run of a Filter.
type server struct {
	f        *Filter
	out      *output
	sessions map[uint64]*Session
	handlers sync.WaitGroup
	ready    bool
	offered  []Feature
	oldAuth  bool // protocol before 0.7: link-auth has the user first
}

func (s *server) read(r *bufio.Reader) error {
	var long []byte // a line that did not fit the reader's buffer
	for {
		line, err := r.ReadSlice('\n')
		if err == bufio.ErrBufferFull {
			if len(long)+len(line) > MaxLine {
				return fmt.Errorf("filter: %w: a line of more than %d bytes", errLine, MaxLine)
			}
			long = append(long, line...)
			continue
		}
		if err == io.EOF { // the server's way to say goodbye; half a line is no line
			return nil
		}
		if err != nil {
			return fmt.Errorf("filter: reading from the server: %w", err)
		}
		if len(long) > 0 {
			if len(long)+len(line) > MaxLine+1 {
				return fmt.Errorf("filter: %w: a line of more than %d bytes", errLine, MaxLine)
			}
			long = append(long, line...)
			line = long
			long = long[:0]
		}
		if err := s.line(line[:len(line)-1]); err != nil {
			return err
		}
	}
}

func (s *server) line(line []byte) error {
	if !s.ready {
		return s.config(line)
	}
	r, known, err := parseRequest(line)
	if err != nil || !known {
		return err
	}
	id, ok := parseID(r.session)
	if !ok {
		return lineError(line, "a session of 16 hex digits")
	}
	session := s.sessions[id]
	if session == nil {
		session = &Session{ID: string(r.session)}
		s.sessions[id] = session
	}
	if r.report {
		s.oldAuth = string(r.version) < "0.7"
		s.report(id, session, &r)
		return nil
	}
	return s.question(session, &r, line)
}

func (s *server) config(line []byte) error {
	text := string(line)
	if !strings.HasPrefix(text, "config|") {
		return lineError(line, "config|... until config|ready")
	}
	if feature, ok := strings.CutPrefix(text, "config|feature|"); ok {
		s.offered = append(s.offered, Feature(feature))
	}
	if text == "config|ready" {
		s.ready = true
		s.out.end(s.f.appendRegistrations(s.out.begin(), s.offered))
	}
	return nil // keys that we do not know are for others
}

// appendRegistrations appends what f asks the server for.
func (f *Filter) appendRegistrations(dst []byte, offered []Feature) []byte {
	for _, e := range allEvents {
		if f.reports[e] != nil || slices.Contains(needed, e) || e == TxRollback && f.message != nil {
			dst = fmt.Appendf(dst, "register|report|smtp-in|%s\n", e)
		}
	}
	for _, p := range []Phase{Connect, Helo, Ehlo, StartTLS, Auth, MailFrom, RcptTo, Data, dataLine, Commit, Rset, Quit, Noop} {
		if f.questions[p] != nil || (p == dataLine || p == Commit) && f.message != nil {
			dst = fmt.Appendf(dst, "register|filter|smtp-in|%s\n", p)
		}
	}
	for _, feature := range f.want {
		if slices.Contains(offered, feature) {
			dst = fmt.Appendf(dst, "register|feature|%s\n", feature)
		}
	}
	return append(dst, "register|ready\n"...)
}

func (s *server) question(session *Session, r *request, line []byte) error {
	if string(r.name) == string(dataLine) && s.f.message != nil {
		s.messageLine(session, r)
		return nil
	}
	q := &Question{Session: session, Phase: Phase(r.name), Arg: string(r.rest), token: string(r.token), out: s.out}
	handler := s.f.questions[q.Phase]
	if q.Phase == Connect && session.Remote == "" {
		hostname, remote, _ := strings.Cut(q.Arg, "|")
		session.Hostname, session.Remote = hostname, hostOf(remote)
	}
	if q.Phase == Commit && session.last != nil {
		verdict := session.last.verdict.Load()
		session.last = nil
		if verdict != nil {
			q.Answer(*verdict)
			return nil
		}
	}
	if handler == nil {
		if q.Phase == Commit && s.f.message != nil {
			q.Answer(Proceed)
			return nil
		}
		return lineError(line, "a phase that was registered")
	}
	handler(q)
	return nil
}

// messageLine is the hot path: one line of a message.
func (s *server) messageLine(session *Session, r *request) {
	m := session.message
	if m == nil {
		m = newMessage(session, r.token, s.out)
		session.message = m
		s.handlers.Go(func() {
			s.f.message(m)
			m.Close()
		})
	}
	line := r.rest
	if len(line) > 0 && line[0] == '.' {
		if len(line) == 1 {
			session.message, session.last = nil, m
			m.end(io.EOF)
			return
		}
		line = line[1:] // RFC 5321 s4.5.2
	}
	m.put(line)
}

// abort tells the session's message handler, if one runs, that it works for
// nobody.
func (s *server) abort(session *Session) {
	for _, m := range []*Message{session.message, session.last} {
		if m != nil {
			m.end(ErrGone)
		}
	}
	session.message, session.last = nil, nil
}

func (s *server) report(id uint64, session *Session, r *request) {
	rep := Report{Session: session, Event: Event(r.name)}
	s.fill(&rep, string(r.rest))
	switch rep.Event {
	case LinkDisconnect:
		session.ended.Store(true)
		delete(s.sessions, id)
		s.abort(session)
	case TxRollback:
		s.abort(session)
	}
	if handler := s.f.reports[rep.Event]; handler != nil {
		rep.Time = parseTime(r.time)
		handler(&rep)
	}
}

// fill sets the fields of rep, and of its session, from the event's arguments.
func (s *server) fill(rep *Report, rest string) {
	session := rep.Session
	switch rep.Event {
	case LinkConnect:
		// The name is the client's: it may hold anything, so count from the end.
		f := strings.Split(rest, "|")
		if n := len(f); n >= 4 {
			session.Hostname, session.FCrDNS = strings.Join(f[:n-3], "|"), f[n-3]
			session.Remote, session.Local = hostOf(f[n-2]), hostOf(f[n-1])
		}
	case LinkGreeting:
		session.Server, rep.Text = rest, rest
	case LinkIdentify:
		rep.Method, rep.Text, _ = strings.Cut(rest, "|")
		session.Helo = rep.Text
	case LinkTLS:
		session.TLS, rep.Text = rest, rest
	case LinkAuth:
		rep.Result, rep.Text, _ = strings.Cut(rest, "|")
		if s.oldAuth {
			if at := strings.LastIndexByte(rest, '|'); at >= 0 {
				rep.Text, rep.Result = rest[:at], rest[at+1:]
			}
		}
		if rep.Result == "pass" {
			session.User = rep.Text
		}
	case TxMail, TxRcpt:
		rep.Message, rest, _ = strings.Cut(rest, "|")
		rep.Result, rep.Text, _ = strings.Cut(rest, "|")
	case TxData:
		rep.Message, rep.Result, _ = strings.Cut(rest, "|")
	case TxReset, TxBegin, TxEnvelope, TxCommit, TxRollback:
		rep.Message, rep.Text, _ = strings.Cut(rest, "|")
	case FilterReport, FilterResponse:
		rep.Method, rep.Text, _ = strings.Cut(rest, "|")
	default:
		rep.Text = rest
	}
}
