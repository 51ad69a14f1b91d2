package filterwire

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/weirmail/weir/internal/trace"
)

func TestParse(t *testing.T) {
	events := func(k trace.Kind) Events { return 1 << k }
	tests := []struct {
		line string
		want Line
	}{
		{"register|ready", Line{Kind: RegisterReady}},
		{"register|report|smtp-in|*", Line{Kind: RegisterReport, Events: AllEvents}},
		{"register|report|smtp-in|tx-mail", Line{Kind: RegisterReport, Events: events(trace.TxMail)}},
		{"register|report|smtp-out|tx-mail", Line{Kind: RegisterReport}},
		{"register|filter|smtp-in|data-line", Line{Kind: RegisterFilter, Phase: DataLine}},
		{"register|filter|smtp-in|wiz", Line{Kind: RegisterFilter, Phase: Wiz}},
		{"register|feature|message-size", Line{Kind: RegisterFeature, Text: []byte("message-size")}},
		{"filter-result|1e665d18dd6e0f5a|96d7e44fcdd976c2|proceed",
			Line{Kind: Result, Session: 0x1e665d18dd6e0f5a, Token: 0x96d7e44fcdd976c2, Decision: Proceed}},
		{"filter-result|A|b|junk", Line{Kind: Result, Session: 10, Token: 11, Decision: Junk}},
		{"filter-result|1|2|reject|550 a|b", Line{Kind: Result, Session: 1, Token: 2, Decision: Reject, Text: []byte("550 a|b")}},
		{"filter-result|1|2|reject|", Line{Kind: Result, Session: 1, Token: 2, Decision: Reject}},
		{"filter-result|1|2|disconnect|x", Line{Kind: Result, Session: 1, Token: 2, Decision: Disconnect, Text: []byte("x")}},
		{"filter-result|1|2|rewrite|<>", Line{Kind: Result, Session: 1, Token: 2, Decision: Rewrite, Text: []byte("<>")}},
		{"filter-result|1|2|report|x", Line{Kind: Result, Session: 1, Token: 2, Decision: Report, Text: []byte("x")}},
		{"filter-dataline|1|2|", Line{Kind: DataOut, Session: 1, Token: 2}},
		{"filter-dataline|1|2|a|b\r", Line{Kind: DataOut, Session: 1, Token: 2, Text: []byte("a|b\r")}},
		{"report|1795345238.187946|smtp-in|9f11a788348e0616|my own|report", Line{Kind: OwnReport, Session: 0x9f11a788348e0616, Text: []byte("my own|report")}},
		{"report|0.7|1795345238.475739|smtp-in|filter-report|bdaa494182d77046|proc|bad|x|y", Line{Kind: OwnReport, Session: 0xbdaa494182d77046, Text: []byte("x|y")}},
		{"report|0.7|1.000000|smtp-in|tx-mail|1|x", Line{Kind: OwnReport, Session: 1, Text: []byte("x")}},
		{"report|x", Line{Kind: OwnReport, Text: []byte("x")}},
		{"report|1|smtp-in|zz|x", Line{Kind: OwnReport, Text: []byte("1|smtp-in|zz|x")}},
	}
	for _, tt := range tests {
		var l Line
		err := Parse([]byte(tt.line), &l)
		if err != nil {
			t.Errorf("%q: %v", tt.line, err)
			continue
		}
		same := bytes.Equal(l.Text, tt.want.Text)
		l.Text, tt.want.Text = nil, nil
		if !same || l.Kind != tt.want.Kind || l.Decision != tt.want.Decision || l.Phase != tt.want.Phase ||
			l.Events != tt.want.Events || l.Session != tt.want.Session || l.Token != tt.want.Token {
			t.Errorf("%q: got %+v, want %+v", tt.line, l, tt.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for line, expected := range map[string]string{
		"":                                    wantLine,
		"report|":                             wantLine,
		"report":                              wantLine,
		"hello":                               wantLine,
		"filter-results|1|2|proceed":          wantLine,
		"register":                            wantStream,
		"register|":                           wantStream,
		"register|ready|":                     wantStream,
		"register|READY":                      wantStream,
		"register|feature|":                   wantFeature,
		"register|feature|a|b":                wantFeature,
		"register|report|smtp-in|":            wantReport,
		"register|report|smtp-out|x":          wantReport,
		"register|report|sideways|*":          wantReport,
		"register|report|smtp-in|tx-mail|x":   wantReport,
		"register|filter|smtp-in|*":           wantFilter,
		"register|filter|smtp-out|data":       wantFilter,
		"filter-result":                       wantSession,
		"filter-result|":                      wantSession,
		"filter-result|0123456789abcdef0|1|x": wantSession,
		"filter-result|1":                     wantToken,
		"filter-result|1|":                    wantToken,
		"filter-result|1||proceed":            wantToken,
		"filter-result|1|0x2|proceed":         wantToken,
		"filter-result|1|2":                   wantRest,
		"filter-dataline|1|2":                 wantRest,
		"filter-dataline|-1|2|x":              wantSession,
		"filter-result|1|2|":                  wantDecision,
		"filter-result|1|2|Proceed":           wantDecision,
		"filter-result|1|2|bypass":            wantDecision,
		"filter-result|1|2|proceed\r":         wantDecision,
		"filter-result|1|2|proceed|":          wantPlain,
		"filter-result|1|2|junk|x":            wantPlain,
		"filter-result|1|2|reject":            wantParam,
		"filter-result|1|2|rewrite":           wantParam,
		"filter-result|1|2|report":            wantParam,
		"filter-result|1|2|disconnect":        wantParam,
	} {
		var l Line
		var pe *ProtocolError
		if err := Parse([]byte(line), &l); !errors.As(err, &pe) || pe.Expected != expected || pe.Line != line {
			t.Errorf("%q: got %v, want %q", line, err, expected)
		}
	}
}

func TestProtocolErrorIsShort(t *testing.T) {
	if e := NewProtocolError([]byte(strings.Repeat("x", maxQuoted)), "y"); len(e.Line) != maxQuoted {
		t.Errorf("%d bytes", len(e.Line))
	}
	if e := NewProtocolError([]byte(strings.Repeat("x", maxQuoted+1)), "y"); e.Line != strings.Repeat("x", maxQuoted)+"..." {
		t.Errorf("%q", e.Line)
	}
}

func TestParseDoesNotAllocate(t *testing.T) {
	var l Line
	for _, line := range []string{"filter-result|1|2|proceed", "filter-result|1|2|reject|550 no", "filter-dataline|1|2|some text"} {
		b := []byte(line)
		if n := testing.AllocsPerRun(100, func() { Parse(b, &l) }); n != 0 {
			t.Errorf("%q: %v allocations", line, n)
		}
	}
}

// Whatever a filter writes, Parse gives a line or a typed error, and what it
// gives says the same when written again.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"", "register|ready", "register|report|smtp-in|*", "register|filter|smtp-in|data-line", "register|feature|x",
		"filter-result|1e665d18dd6e0f5a|96d7e44fcdd976c2|proceed", "filter-result|1|2|reject|550 no", "filter-result|1|2|proceed|",
		"filter-dataline|1|2|x|y", "report|1795345238.187946|smtp-in|9f11a788348e0616|x",
		"report|0.7|1795345238.475739|smtp-in|filter-report|bdaa494182d77046|proc|bad|x",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var l Line
		if err := Parse(line, &l); err != nil {
			var pe *ProtocolError
			if !errors.As(err, &pe) || pe.Expected == "" {
				t.Fatalf("error %v", err)
			}
			return
		}
		if !bytes.HasSuffix(line, l.Text) {
			t.Errorf("text %q is not the end of %q", l.Text, line)
		}
		if l.Kind != Result && l.Kind != DataOut {
			return
		}
		b := []byte("filter-dataline|")
		if l.Kind == Result {
			b = []byte("filter-result|")
		}
		b = append(appendHex(b, uint64(l.Session), 16), '|')
		b = append(appendHex(b, l.Token, 16), '|')
		if l.Kind == Result {
			b = append(b, l.Decision.String()...)
			if l.Decision != Proceed && l.Decision != Junk {
				b = append(b, '|')
			}
		}
		b = append(b, l.Text...)
		var again Line
		if err := Parse(b, &again); err != nil || again.Session != l.Session || again.Token != l.Token ||
			again.Decision != l.Decision || !bytes.Equal(again.Text, l.Text) {
			t.Errorf("%q gives %+v, and %q gives %+v, %v", line, l, b, again, err)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	line := []byte("filter-result|1e665d18dd6e0f5a|96d7e44fcdd976c2|proceed")
	var l Line
	b.ReportAllocs()
	for b.Loop() {
		Parse(line, &l)
	}
}
