package rehearse

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/weirmail/weir/internal/filterwire"
)

// judge knows what a filter was sent and says what is wrong with its lines.
// It is the protocol's bookkeeping and nothing else: it neither reads nor
// waits, so a test hands it lines and times.
type judge struct {
	version  filterwire.Protocol
	timeout  time.Duration
	features map[string]bool // announced
	scene    string          // what is being played, for the findings

	ready      bool
	registered []string // register lines, without their first word
	wanted     map[string]bool
	sessions   map[uint64]*session
	found      []*Finding
	ended      bool // by a fault for which a server ends a filter

	late             int    // answers that came too late
	questions, lines int    // how many were sent
	last             string // what was sent last, for the place of a death
}

// session is what the judge remembers of one session.
type session struct {
	open     *question
	message  *message
	answered map[uint64]answered // by token
	over     bool                // the client has left
	verdict  verdict             // of the newest answer
	size     int64               // of the newest message as it came back, in bytes
}

type question struct {
	phase filterwire.Phase
	token uint64
	at    time.Time
}

// message is one that is being played, or the newest one.
type message struct {
	token     uint64
	sent, got [][]byte
	dotSent   time.Time // zero until then
	done      bool      // its dot came back
	abandoned bool      // the client never sent one
	hasCR     bool      // one of the lines sent ends in CR
}

type answered struct {
	phase filterwire.Phase
	at    time.Time
}

type verdict struct {
	decision filterwire.Decision
	param    string
}

func newJudge(version filterwire.Protocol, timeout time.Duration) *judge {
	return &judge{
		version: version, timeout: timeout, features: make(map[string]bool),
		wanted: make(map[string]bool), sessions: make(map[uint64]*session), last: "start",
	}
}

// session gives what is known of a session, from its first line on.
func (j *judge) session(id uint64) *session {
	s := j.sessions[id]
	if s == nil {
		s = &session{answered: make(map[uint64]answered)}
		j.sessions[id] = s
	}
	return s
}

// add keeps a finding, with the place where it was made.
func (j *judge) add(f *Finding, id uint64, phase string) {
	f.Scene, f.Phase = j.scene, phase
	if id != 0 {
		f.Session = fmt.Sprintf("%016x", id)
	}
	if f.Scene == longestScene && strings.HasPrefix(f.Name, "exits") {
		// Go's bufio.Scanner ends at 64 KB, and so do the filters written
		// with it: every server's sender can end them, and they are in use.
		f.Name, f.Remark = "ends-at-longest-line", true
		f.Text = fmt.Sprintf("a message line of %d bytes, which SMTP allows here, is too long for it: any sender can end it (%s)", maxMessageLine, f.Text)
	}
	if f.Name == "too-late" {
		j.late++
		f.ends = f.ends || j.late >= maxFaulty // enough was waited
	}
	j.found = append(j.found, f)
	j.ended = j.ended || f.ends
}

// asked notes a question that goes to the filter.
func (j *judge) asked(id uint64, phase filterwire.Phase, token uint64, at time.Time) {
	s := j.session(id)
	s.open, s.verdict = &question{phase, token, at}, verdict{}
	j.questions++
	j.last = phase.String()
}

// line notes a line of a message that goes to the filter.
func (j *judge) line(id, token uint64, text []byte, at time.Time) {
	s := j.session(id)
	if s.message == nil || s.message.abandoned || s.message.token != token || !s.message.dotSent.IsZero() {
		s.message = &message{token: token}
	}
	m := s.message
	j.lines++
	j.last = filterwire.DataLine.String()
	if string(text) == "." {
		m.dotSent = at
		return
	}
	m.sent = append(m.sent, text)
	m.hasCR = m.hasCR || bytes.HasSuffix(text, []byte{'\r'})
}

// gone notes that the transaction or the session is over.
func (j *judge) gone(id uint64, session bool) {
	s := j.session(id)
	if m := s.message; m != nil && (!m.done || m.dotSent.IsZero()) {
		m.abandoned = true
	}
	if session {
		s.over = true
	}
}

// waiting says what the session waits for: a question, the end of a message,
// or nothing; since is when it was sent.
func (j *judge) waiting(id uint64) (phase string, since time.Time, waits bool) {
	s := j.sessions[id]
	switch {
	case s == nil || s.over:
	case s.open != nil:
		return s.open.phase.String(), s.open.at, true
	case s.message != nil && !s.message.done && !s.message.abandoned && !s.message.dotSent.IsZero():
		return filterwire.DataLine.String(), s.message.dotSent, true
	}
	return "", time.Time{}, false
}

// heard judges a line of the filter, which came at the time at.
func (j *judge) heard(line []byte, at time.Time) {
	if j.ended {
		return // a consequence of what was told
	}
	var l filterwire.Line
	if err := filterwire.Parse(line, &l); err != nil {
		j.add(diagnose(line, err), 0, "")
		return
	}
	switch l.Kind {
	case filterwire.Result, filterwire.DataOut:
		if !j.ready {
			j.add(breach("answer-before-ready", "it answers before register|ready, when nothing was asked", line, "register|..."), uint64(l.Session), "")
			return
		}
		if l.Kind == filterwire.Result {
			j.result(line, &l, at)
		} else {
			j.dataOut(line, &l, at)
		}
	case filterwire.OwnReport:
		j.add(remark("own-report", "it sends report lines: weir makes them filter-reports, OpenSMTPD ends", line), uint64(l.Session), "")
	default:
		j.register(line, &l)
	}
}

func (j *judge) register(line []byte, l *filterwire.Line) {
	what := string(bytes.TrimPrefix(line, []byte("register|")))
	switch {
	case j.ready:
		j.add(remark("register-after-ready", "it registers after register|ready, which ends the registrations; what comes later may count or not", line), 0, "")
		return
	case l.Kind == filterwire.RegisterReady:
		j.ready, j.last = true, "ready"
		if len(j.wanted) == 0 {
			j.add(remark("registers-nothing", "it registers neither report nor phase, and will never hear anything", line), 0, "")
		}
		return
	case l.Kind == filterwire.RegisterFeature && !j.features[string(l.Text)]:
		j.add(breach("unknown-feature", fmt.Sprintf("it registers the feature %q, which was not announced", l.Text), line, "a feature of a line config|feature|NAME"), 0, "")
		return
	case j.wanted[what]:
		j.add(remark("register-twice", "it registers the same twice", line), 0, "")
		return
	case l.Kind == filterwire.RegisterReport && l.Events == 0:
		j.add(remark("register-smtp-out", "it registers for the sending side, of which nothing is told yet", line), 0, "")
	}
	j.wanted[what] = true
	j.registered = append(j.registered, what)
}

// wants reports whether the filter registered "report|smtp-in|EVENT" or the
// like.
func (j *judge) wants(kind, name string) bool {
	return j.wanted[kind+"|smtp-in|"+name] || kind == "report" && j.wanted["report|smtp-in|*"]
}

// stranger names an answer for a session that never was.
func (j *judge) stranger(line []byte, l *filterwire.Line) {
	if j.sessions[l.Token] != nil {
		j.add(fault("session-and-token-swapped", "an answer has the token in the place of the session", line, "session, then token"), l.Token, "")
		return
	}
	j.add(fault("unknown-session", "an answer is for a session that never was", line, "the session of the question"), 0, "")
}

func (j *judge) result(line []byte, l *filterwire.Line, at time.Time) {
	id := uint64(l.Session)
	s := j.sessions[id]
	if s == nil {
		j.stranger(line, l)
		return
	}
	q, m := s.open, s.message
	switch before, twice := s.answered[l.Token]; {
	case q != nil && q.token == l.Token:
		j.answer(line, l, s, at)
	case twice:
		f := breach("answered-twice", "a question that was answered is answered again, "+span(at.Sub(before.at))+" later", line, "one answer to each question")
		j.add(f, id, before.phase.String())
	case m != nil && m.token == l.Token:
		j.add(breach("decision-for-line", "a line of a message is answered with a decision", line,
			fmt.Sprintf("filter-dataline|%016x|%016x|LINE", id, l.Token)), id, filterwire.DataLine.String())
	case s.over:
		// An answer that crossed with link-disconnect.
	case q != nil:
		j.add(breach("wrong-token", "an answer has a token that is not the question's", line,
			fmt.Sprintf("filter-result|%016x|%016x|...", id, q.token)), id, q.phase.String())
	default:
		j.add(breach("unasked-answer", "it answers where nothing was asked", line, "nothing"), id, "")
	}
}

// answer judges the answer to the session's open question.
func (j *judge) answer(line []byte, l *filterwire.Line, s *session, at time.Time) {
	q, id := s.open, uint64(l.Session)
	s.open = nil
	s.answered[q.token] = answered{q.phase, at}
	s.verdict = verdict{l.Decision, string(l.Text)}
	phase := q.phase.String()
	if took := at.Sub(q.at); took > j.timeout {
		j.add(fault("too-late", "it answered after "+span(took), line, "an answer within "+j.timeout.String()), id, phase)
	}
	if bytes.HasSuffix(l.Text, []byte{'\r'}) {
		j.add(carriageReturn(line), id, phase)
		return
	}
	switch l.Decision {
	case filterwire.Reject, filterwire.Disconnect:
		if bad := badReply(l.Text); bad != "" {
			j.add(fault("bad-reply", bad, line, "a code of 400 to 599, a space, text"), id, phase)
		}
	case filterwire.Rewrite:
		j.rewrite(line, l, q)
	case filterwire.Report:
		if j.version == filterwire.V06 {
			j.add(breach("unknown-decision", "protocol 0.6 has no decision report", line, "proceed, junk, reject, disconnect or rewrite"), id, phase)
		}
	case filterwire.Junk:
		if q.phase == filterwire.Commit {
			j.add(remark("junk-at-commit", "it says junk at commit: weir marks the message, OpenSMTPD ends", line), id, phase)
		}
	}
}

func (j *judge) rewrite(line []byte, l *filterwire.Line, q *question) {
	switch q.phase {
	case filterwire.MailFrom, filterwire.RcptTo:
		if !bytes.HasPrefix(l.Text, []byte{'<'}) || !bytes.Contains(l.Text, []byte{'>'}) {
			j.add(fault("rewrite-without-brackets", "an address is rewritten without its angle brackets", line, "<ADDRESS>, and parameters behind it"), uint64(l.Session), q.phase.String())
		}
	case filterwire.Helo, filterwire.Ehlo, filterwire.Auth:
	default:
		j.add(remark("rewrite-without-argument", "it rewrites where there is nothing to rewrite: that counts as proceed in weir, and as an error in OpenSMTPD", line), uint64(l.Session), q.phase.String())
	}
}

func (j *judge) dataOut(line []byte, l *filterwire.Line, at time.Time) {
	id := uint64(l.Session)
	s := j.sessions[id]
	if s == nil {
		j.stranger(line, l)
		return
	}
	m := s.message
	phase := filterwire.DataLine.String()
	switch {
	case m != nil && m.token == l.Token && !m.done:
		j.returned(line, l, s, at)
	case m != nil && m.token == l.Token && m.abandoned:
		// On its way when the client left.
	case m != nil && m.token == l.Token && string(l.Text) == ".":
		j.add(fault("dot-twice", "the dot that ends the message came twice", line, "one dot"), id, phase)
	case m != nil && m.token == l.Token:
		j.add(fault("line-after-dot", "a line of the message came after its dot", line, "nothing after the dot, or .. for a line that is a dot"), id, phase)
	case s.over:
	case m != nil && !m.done && !m.abandoned:
		j.add(breach("line-with-wrong-token", "a line of the message has a token that is not the message's", line,
			fmt.Sprintf("filter-dataline|%016x|%016x|...", id, m.token)), id, phase)
	default:
		at := ""
		if s.open != nil {
			at = s.open.phase.String()
		}
		j.add(breach("line-outside-message", "a line of a message came where there is none", line, "filter-result"), id, at)
	}
}

// returned judges a line of the message that the session is in.
func (j *judge) returned(line []byte, l *filterwire.Line, s *session, at time.Time) {
	m, id, phase := s.message, uint64(l.Session), filterwire.DataLine.String()
	if !m.hasCR && bytes.HasSuffix(l.Text, []byte{'\r'}) && !m.abandoned {
		j.add(carriageReturn(line), id, phase)
		return
	}
	if string(l.Text) != "." {
		m.got = append(m.got, bytes.Clone(l.Text))
		return
	}
	m.done = true
	if m.abandoned {
		return // it ends what it was told to forget: a matter of time
	}
	if m.dotSent.IsZero() {
		j.add(fault("dot-too-early", fmt.Sprintf("it ended the message after %d of its lines: the rest of the mail is lost", len(m.sent)), line, "a dot after the server's dot"), id, phase)
		return
	}
	if took := at.Sub(m.dotSent); took > j.timeout {
		j.add(fault("too-late", "the message came back "+span(took)+" after its last line", line, "its dot within "+j.timeout.String()), id, phase)
	}
	s.size = 0
	for _, got := range m.got {
		s.size += int64(len(bytes.TrimPrefix(got, []byte{'.'}))) + 1
	}
	for _, f := range compareMessage(m.sent, m.got) {
		j.add(f, id, phase)
	}
}

// silent tells of something that the session has waited for in vain.
func (j *judge) silent(id uint64) {
	phase, _, _ := j.waiting(id)
	s := j.sessions[id]
	if s.open != nil {
		for _, f := range j.found {
			if f.Scene == j.scene && !f.Remark {
				return // it did answer, but wrongly
			}
		}
		j.add(breach("no-answer", "it did not answer at all", nil, fmt.Sprintf("filter-result within %v", j.timeout)), id, phase)
		return
	}
	m := s.message
	name, text := "no-final-dot", fmt.Sprintf("it returned %d lines of %d, and no dot to end the message", len(m.got), len(m.sent))
	if len(m.got) == 0 {
		name, text = "message-not-returned", "it returned no line of a message, not even the dot: where data-line is registered, the server has only what comes back"
	}
	j.add(breach(name, text, nil, fmt.Sprintf("the message, ended by a dot, within %v of the server's dot", j.timeout)), id, phase)
}

// span gives a duration for a person.
func span(d time.Duration) string { return d.Round(time.Millisecond).String() }
