package rehearse

import (
	"strings"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/filterwire"
)

// judged plays a little exchange to a judge and gives what it found: names,
// remarks in parentheses. Lines: "?PHASE" asks in session a1 with the token of
// the phase, "<LINE" sends a line of a message, "gone" and "over" end
// transaction and session, "+1s" lets time pass, ">LINE" is of the filter,
// where R and D stand for the beginnings of answers of a1.
func judged(t *testing.T, version filterwire.Protocol, script ...string) string {
	t.Helper()
	j := newJudge(version, time.Second)
	j.features["message-size"] = true
	now := time.Unix(1_700_000_000, 0)
	fill := strings.NewReplacer("R|", "filter-result|00000000000000a1|", "D|", "filter-dataline|00000000000000a1|")
	for _, s := range script {
		switch {
		case s[0] == '?':
			p, ok := filterwire.ParsePhase(s[1:])
			if !ok {
				t.Fatal(s)
			}
			j.asked(0xa1, p, uint64(p), now)
		case s[0] == '<':
			j.line(0xa1, 0x20, []byte(s[1:]), now)
		case s[0] == '+':
			d, err := time.ParseDuration(s[1:])
			if err != nil {
				t.Fatal(err)
			}
			now = now.Add(d)
		case s[0] == '>':
			j.heard([]byte(fill.Replace(s[1:])), now)
		case s == "gone":
			j.gone(0xa1, false)
		case s == "over":
			j.gone(0xa1, true)
		default:
			t.Fatalf("%q", s)
		}
	}
	var names []string
	for _, f := range j.found {
		if f.Remark {
			names = append(names, "("+f.Name+")")
		} else {
			names = append(names, f.Name)
		}
	}
	return strings.Join(names, " ")
}

func TestJudge(t *testing.T) {
	ready := []string{">register|filter|smtp-in|data-line", ">register|ready"}
	for _, c := range []struct{ want, script string }{
		{"", "?mail-from >R|6|proceed ?rcpt-to >R|7|reject|550_no"},
		{"", "?mail-from >filter-result|A1|6|junk"},
		{"answered-twice", "?mail-from >R|6|proceed >R|6|proceed"},
		{"answered-twice", "?mail-from >R|6|proceed ?rcpt-to >R|6|proceed"},
		{"", "?mail-from >R|6|proceed ?mail-from >R|6|proceed"},
		{"wrong-token", "?mail-from >R|7|proceed"},
		{"unasked-answer", "?mail-from >R|6|proceed >R|7|proceed"},
		{"unknown-session", "?mail-from >filter-result|b2|6|proceed"},
		{"session-and-token-swapped", "?mail-from >filter-result|6|a1|proceed"},
		{"unknown-session", "?mail-from >filter-dataline|b2|6|x"},
		{"", "?mail-from +1s >R|6|proceed"},
		{"too-late", "?mail-from +1001ms >R|6|proceed"},
		{"too-late too-late too-late", "?ehlo +2s >R|3|proceed ?ehlo +2s >R|3|proceed ?ehlo +2s >R|3|proceed ?ehlo +2s >R|3|proceed"},
		{"", "?mail-from over >R|6|proceed"},
		{"", "?mail-from over >R|7|proceed"},
		{"", "?ehlo >R|3|rewrite|name"},
		{"", "?mail-from >R|6|rewrite|<a@b>_SIZE=1"},
		{"rewrite-without-brackets", "?mail-from >R|6|rewrite|a@b"},
		{"(rewrite-without-argument)", "?data >R|8|rewrite|x"},
		{"(junk-at-commit)", "?commit >R|a|junk"},
		{"", "?commit >R|a|report|text"},
		{"bad-reply", "?data >R|8|reject|no"},
		{"bad-reply", "?data >R|8|disconnect|250_yes"},
		{"cr-at-line-end", "?data >R|8|reject|550_no\r"},
		{"cr-at-line-end", "?data >R|8|proceed\r"},
		{"unknown-line", "?data >hello ?data >hello"},
		{"(own-report)", ">report|x"},
		{"(register-after-ready)", ">register|report|smtp-in|timeout"},

		{"", "<x >D|20|x <. >D|20|."},
		{"", "<x <. >D|20|new >D|20|x >D|20|. <y <. >D|20|y >D|20|."},
		{"dot-too-early", "<x >D|20|. <y <. "},
		{"dot-too-early", "<x >D|20|. <y <. <second >D|20|second <. >D|20|."},
		{"dot-too-early line-after-dot", "<x >D|20|. <y >D|20|y"},
		{"dot-twice", "<x >D|20|x <. >D|20|. >D|20|."},
		{"line-after-dot", "<x >D|20|x <. >D|20|. >D|20|x"},
		{"decision-for-line", "<x >R|20|proceed"},
		{"decision-for-line", "<x <. >D|20|x >D|20|. >R|20|proceed"},
		{"line-with-wrong-token", "<x >D|21|x"},
		{"line-outside-message", "?data >D|8|x"},
		{"line-outside-message", "?data >R|8|proceed >D|8|x"},
		{"cr-at-line-end", "<x >D|20|x\r"},
		{"", "<x\r >D|20|x\r <. >D|20|."},
		{"too-late", "<x <. >D|20|x +2s >D|20|."},
		{"", "<x >D|20|x gone >D|20|y >D|20|. <new >D|20|new <. >D|20|."},
		{"", "<x over >D|20|x >D|99|x"},
		{"dot-not-escaped", "<..a <. >D|20|.a >D|20|."},
		{"", "<x <y <. >D|20|."},
	} {
		script := append([]string{}, ready...)
		for s := range strings.FieldsSeq(strings.ReplaceAll(c.script, "\r", "^")) {
			script = append(script, strings.NewReplacer("_", " ", "^", "\r").Replace(s))
		}
		if got := judged(t, filterwire.V07, script...); got != c.want {
			t.Errorf("%q: got %q, want %q", c.script, got, c.want)
		}
	}
}

func TestJudgeRegistrations(t *testing.T) {
	for _, c := range []struct{ want, script string }{
		{"(registers-nothing)", ">register|ready"},
		{"", ">register|report|smtp-in|* >register|feature|message-size >register|ready"},
		{"unknown-feature", ">register|feature|chunks >register|ready"},
		{"unknown-feature", ">register|feature|"},
		{"(register-twice)", ">register|filter|smtp-in|data >register|filter|smtp-in|data"},
		{"(register-smtp-out)", ">register|report|smtp-out|tx-mail"},
		{"unknown-subsystem", ">register|filter|smtp-out|data"},
		{"unknown-registration", ">register|filter"},
		{"unknown-registration", ">register"},
		{"answer-before-ready", ">R|1|proceed"},
		{"cr-at-line-end", ">register|filter|smtp-in|data\r"},
	} {
		var script []string
		for s := range strings.SplitSeq(c.script, " ") {
			script = append(script, s)
		}
		if got := judged(t, filterwire.V07, script...); got != c.want {
			t.Errorf("%q: got %q, want %q", c.script, got, c.want)
		}
	}
	if got := judged(t, filterwire.V06, ">register|filter|smtp-in|data", ">register|ready", "?data", ">R|8|report|x"); got != "unknown-decision" {
		t.Errorf("report in 0.6: %q", got)
	}
}

func TestBadReply(t *testing.T) {
	for text, bad := range map[string]bool{
		"550 no": false, "421 4.7.0 a|b": false, "400 x": false, "599 x": false, "550 \xfcber": false, "550 a\tb": false,
		"": true, "no": true, "550": true, "550 ": true, "550-no": true, "250 yes": true, "600 no": true, "5x0 no": true, "55 no": true, "550 a\x01": true,
	} {
		if got := badReply([]byte(text)) != ""; got != bad {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestCompareLine(t *testing.T) {
	long := strings.Repeat("l", 2*longLine)
	for _, c := range []struct{ was, is, want string }{
		{"x", "x", ""},
		{"Subject: x", "Subject: [LIST] x", ""},
		{"a|b|c", "a", "cut-at-pipe"},
		{"a|b|c", "a|b", "cut-at-pipe"},
		{"a|b", "a|", ""},
		{"a\x00b", "a", "cut-at-nul"},
		{"..a", ".a", "dot-not-escaped"},
		{".a", "a", ""},
		{long, long[:longLine], "line-cut"},
		{long, long[:longLine-1], ""},
		{"Gr\xfc\xdfe", "Gr\xef\xbf\xbd\xef\xbf\xbde", "bytes-changed"},
		{"Grüße", "Gr??e", "bytes-changed"},
		{"Grüße", "Gruesse", ""},
		{"Grüße", "", ""},
		{"what?", "what", ""},
	} {
		got := ""
		if f := compareLine([]byte(c.was), []byte(c.is)); f != nil {
			got = f.Name
		}
		if got != c.want {
			t.Errorf("%.20q, %.20q: got %q, want %q", c.was, c.is, got, c.want)
		}
	}
}

// Lines are compared from the end, and only if none is missing.
func TestCompareMessage(t *testing.T) {
	lines := func(s ...string) (out [][]byte) {
		for _, l := range s {
			out = append(out, []byte(l))
		}
		return out
	}
	sent := lines("a|b", "c|d", "..x")
	for want, got := range map[string][][]byte{
		"":                            lines("X-New: 1", "a|b", "c|d", "..x"),
		"cut-at-pipe":                 lines("X-New: 1", "a", "c", "..x"),
		"cut-at-pipe dot-not-escaped": lines("a", "c|d", ".x"),
	} {
		var names []string
		for _, f := range compareMessage(sent, got) {
			names = append(names, f.Name)
		}
		if strings.Join(names, " ") != want {
			t.Errorf("%q: got %q, want %q", got, names, want)
		}
	}
	if f := compareMessage(sent, lines("a", "c")); f != nil {
		t.Errorf("a shorter message: %v", f)
	}
}

func TestFindingString(t *testing.T) {
	f := breach("wrong-token", "a text", []byte("filter-result|\x1b"), "better")
	f.Phase, f.Scene, f.Session, f.Times, f.Log = "data", "dots", "00a1", 3, "one\n\x1b[2J\n"
	const want = `fault wrong-token at data: a text
    scene:    dots, session 00a1; 3 times in all
    line:     "filter-result|\x1b"
    expected: better
    its log:  one
    its log:  \x1b[2J
`
	if got := f.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := remark("x", "y", nil).String(); got != "remark x: y\n" {
		t.Errorf("%q", got)
	}
}

// Whatever a filter sends is judged, and a line that the protocol does not
// know is always told.
func FuzzJudge(f *testing.F) {
	for _, s := range []string{"", "hello", "register|ready", "filter-result|a1|8|proceed", "filter-dataline|a1|20|.", "filter-result|a1\r", "report|x|smtp-in|a1|y", "filter-result|a1|8|reject|x"} {
		f.Add([]byte(s), []byte("filter-result|a1|8|proceed"))
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		j := newJudge(filterwire.V07, time.Second)
		j.ready = true
		now := time.Unix(0, 0)
		j.asked(0xa1, filterwire.Data, 8, now)
		j.line(0xa1, 0x20, []byte("x"), now)
		j.heard(first, now)
		var l filterwire.Line
		if err := filterwire.Parse(first, &l); err != nil && (len(j.found) != 1 || !j.ended || j.found[0].Name == "" || j.found[0].Expected == "") {
			t.Fatalf("%q: %+v", first, j.found)
		}
		j.heard(second, now)
		for _, f := range j.found {
			if s := f.String(); strings.ContainsAny(s, "\x00\x1b\r") {
				t.Errorf("%q would move a terminal", s)
			}
		}
	})
}
