package filterwire

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/trace"
)

var when = time.Unix(1795344927, 4189999)

func TestAppendConfig(t *testing.T) {
	c := Config{Version: "7.8.0-portable", SessionTimeout: 300, ADMD: "mx.example.test", Features: []string{"message-size"}}
	tests := []struct {
		protocol Protocol
		want     string
	}{
		{V07, `config|smtpd-version|7.8.0-portable
config|protocol|0.7
config|smtp-session-timeout|300
config|subsystem|smtp-in
config|admd|mx.example.test
config|feature|message-size
config|ready
`},
		{V06, `config|smtpd-version|7.8.0-portable
config|smtp-session-timeout|300
config|subsystem|smtp-in
config|admd|mx.example.test
config|ready
`},
	}
	for _, tt := range tests {
		c.Protocol = tt.protocol
		if got := string(AppendConfig(nil, &c)); got != tt.want {
			t.Errorf("protocol %v:\n%s\nwant:\n%s", tt.protocol, got, tt.want)
		}
	}
}

// Each report as OpenSMTPD writes it.
func TestAppendReport(t *testing.T) {
	tests := []struct {
		e    trace.Event
		want string // after "report|0.7|1795344927.004189|smtp-in|"
	}{
		{trace.Event{Kind: trace.LinkConnect, Rdns: "localhost", Fcrdns: "pass", Src: "127.0.0.1:33420", Dest: "[::1]:25"},
			"link-connect|1e665d18dd6e0f5a|localhost|pass|127.0.0.1:33420|[::1]:25"},
		{trace.Event{Kind: trace.LinkConnect, Src: "unix:/var/run/smtpd.sock", Dest: "unix:/var/run/smtpd.sock"},
			"link-connect|1e665d18dd6e0f5a|<unknown>|error|unix:/var/run/smtpd.sock|unix:/var/run/smtpd.sock"},
		{trace.Event{Kind: trace.LinkGreeting, Text: "mx.example.test"}, "link-greeting|1e665d18dd6e0f5a|mx.example.test"},
		{trace.Event{Kind: trace.LinkIdentify, Method: "EHLO", Text: "[IPv6:::1]"}, "link-identify|1e665d18dd6e0f5a|EHLO|[IPv6:::1]"},
		{trace.Event{Kind: trace.LinkTLS, Text: "TLSv1.3:TLS_AES_256_GCM_SHA384:256"}, "link-tls|1e665d18dd6e0f5a|TLSv1.3:TLS_AES_256_GCM_SHA384:256"},
		{trace.Event{Kind: trace.LinkAuth, Result: "fail", User: "al ice|x"}, `link-auth|1e665d18dd6e0f5a|fail|al\040ice|x`},
		{trace.Event{Kind: trace.LinkDisconnect}, "link-disconnect|1e665d18dd6e0f5a"},
		{trace.Event{Kind: trace.Timeout}, "timeout|1e665d18dd6e0f5a"},
		{trace.Event{Kind: trace.TxReset, Message: 0xfd539}, "tx-reset|1e665d18dd6e0f5a|000fd539"},
		{trace.Event{Kind: trace.TxBegin, Message: 0xfd539}, "tx-begin|1e665d18dd6e0f5a|000fd539"},
		{trace.Event{Kind: trace.TxRollback, Message: 0xfd539}, "tx-rollback|1e665d18dd6e0f5a|000fd539"},
		{trace.Event{Kind: trace.TxMail, Result: "permfail", Text: "a@example.net"}, "tx-mail|1e665d18dd6e0f5a|00000000|permfail|a@example.net"},
		{trace.Event{Kind: trace.TxMail, Message: 1, Result: "ok"}, "tx-mail|1e665d18dd6e0f5a|00000001|ok|"},
		{trace.Event{Kind: trace.TxRcpt, Message: 1, Result: "ok", Text: "a|b@example.net"}, "tx-rcpt|1e665d18dd6e0f5a|00000001|ok|a|b@example.net"},
		{trace.Event{Kind: trace.TxEnvelope, Message: 0xfd539, Envelope: 0xfd539f87952c3}, "tx-envelope|1e665d18dd6e0f5a|000fd539|000fd539f87952c3"},
		{trace.Event{Kind: trace.TxData, Message: 1, Result: "tempfail"}, "tx-data|1e665d18dd6e0f5a|00000001|tempfail"},
		{trace.Event{Kind: trace.TxCommit, Message: 1, Size: 477}, "tx-commit|1e665d18dd6e0f5a|00000001|477"},
		{trace.Event{Kind: trace.ProtocolClient, Text: ""}, "protocol-client|1e665d18dd6e0f5a|"},
		{trace.Event{Kind: trace.ProtocolClient, Text: " NOOP a\nfilter|x"}, "protocol-client|1e665d18dd6e0f5a| NOOP a filter|x"},
		{trace.Event{Kind: trace.ProtocolServer, Text: "250-8BITMIME"}, "protocol-server|1e665d18dd6e0f5a|250-8BITMIME"},
		{trace.Event{Kind: trace.FilterReport, Method: "builtin", Filter: "x", Text: "a|b"}, "filter-report|1e665d18dd6e0f5a|builtin|x|a|b"},
		{trace.Event{Kind: trace.FilterResponse, Phase: "connected", Result: "proceed"}, "filter-response|1e665d18dd6e0f5a|connected|proceed"},
		{trace.Event{Kind: trace.FilterResponse, Phase: "tls", Result: "reject", Text: "451 4.7.1 a|b"}, "filter-response|1e665d18dd6e0f5a|tls|reject|451 4.7.1 a|b"},
		{trace.Event{Kind: trace.FilterResponse, Phase: "rcpt-to", Result: "rewrite"}, "filter-response|1e665d18dd6e0f5a|rcpt-to|rewrite|"},
	}
	for _, tt := range tests {
		tt.e.Time, tt.e.Session = when, 0x1e665d18dd6e0f5a
		want := "report|0.7|1795344927.004189|smtp-in|" + tt.want + "\n"
		if got := string(AppendReport(nil, V07, &tt.e)); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	e := trace.Event{Kind: trace.LinkAuth, Time: when, Session: 1, Result: "pass", User: "alice"}
	if got, want := string(AppendReport(nil, V06, &e)), "report|0.6|1795344927.004189|smtp-in|link-auth|0000000000000001|alice|pass\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAppendRequest(t *testing.T) {
	const head = "filter|0.7|1795344927.004189|smtp-in|"
	tests := []struct {
		phase Phase
		arg   string
		want  string
	}{
		{Connect, "localhost|127.0.0.1", "connect|000000000000000a|00000000000000ff|localhost|127.0.0.1\n"},
		{Commit, "", "commit|000000000000000a|00000000000000ff|\n"},
		{MailFrom, "a|b@example.net", "mail-from|000000000000000a|00000000000000ff|a|b@example.net\n"},
		{RcptTo, "a\nb", "rcpt-to|000000000000000a|00000000000000ff|a b\n"},
		{Auth, "PLAIN \xff", "auth|000000000000000a|00000000000000ff|PLAIN \xff\n"},
	}
	for _, tt := range tests {
		if got := string(AppendRequest(nil, V07, when, tt.phase, 10, 255, tt.arg)); got != head+tt.want {
			t.Errorf("got %q, want %q", got, head+tt.want)
		}
	}
	if got, want := string(AppendDataPrefix(nil, V06, when, 10, 255)), "filter|0.6|1795344927.004189|smtp-in|data-line|000000000000000a|00000000000000ff|"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAppendVis(t *testing.T) {
	for in, want := range map[string]string{
		"alice@example.net": "alice@example.net", `a\b`: `a\\b`, " \t\n": `\040\^I\^J`, "\x7f\x00": `\^?\^@`,
		"\xe9\x80\xff\xa0": `\M-i\M^@\M^?\240`, "|*?[#\"": "|*?[#\"",
	} {
		if got := string(appendVis(nil, in)); got != want {
			t.Errorf("%q gives %q, want %q", in, got, want)
		}
	}
}

func TestAppendLines(t *testing.T) {
	out, rest := AppendLines(nil, []byte("p|"), []byte("a\n\nbc\nd\n"), 6)
	if string(out) != "p|a\np|\n" || string(rest) != "bc\nd\n" {
		t.Errorf("got %q and %q", out, rest)
	}
	out, rest = AppendLines(out[:0], []byte("p|"), rest, 100)
	if string(out) != "p|bc\np|d\n" || len(rest) != 0 {
		t.Errorf("got %q and %q", out, rest)
	}
}

func TestEncodersDoNotAllocate(t *testing.T) {
	buf := make([]byte, 0, 4096)
	e := trace.Event{Kind: trace.TxRcpt, Time: when, Session: 1, Message: 2, Result: "ok", Text: "a@example.net"}
	prefix, body := []byte("prefix|"), []byte(strings.Repeat("line\n", 20))
	for name, f := range map[string]func(){
		"report":  func() { AppendReport(buf, V07, &e) },
		"request": func() { AppendRequest(buf, V07, when, MailFrom, 1, 2, "a@example.net") },
		"lines":   func() { AppendLines(buf, prefix, body, 4096) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestNames(t *testing.T) {
	n := 0
	for k := trace.Kind(0); k < 100; k++ {
		name := EventName(k)
		if name == "" {
			if AllEvents.Has(k) {
				t.Errorf("event %d has no name", k)
			}
			continue
		}
		n++
		if ev, ok := ParseEvents(name); !ok || !ev.Has(k) || !AllEvents.Has(k) || ev.Has(k+1) {
			t.Errorf("event %s", name)
		}
	}
	if n != 19 {
		t.Errorf("%d events, want 19", n)
	}
	for p := Connect; p <= Wiz; p++ {
		if q, ok := ParsePhase(p.String()); !ok || p != q || !Phases(0).With(p).Has(q) {
			t.Errorf("phase %v", p)
		}
	}
	for _, name := range []string{"", "?", "connected", "tls"} {
		if _, ok := ParsePhase(name); ok {
			t.Errorf("%q is a phase", name)
		}
	}
	if Connect.ReportName() != "connected" || StartTLS.ReportName() != "tls" || Data.ReportName() != "data" {
		t.Error("names in filter-response")
	}
	if v, ok := ParseProtocol("0.6"); !ok || v != V06 {
		t.Error("protocol 0.6")
	}
	if _, ok := ParseProtocol("0.5"); ok {
		t.Error("protocol 0.5 is spoken")
	}
}

// No text of a client begins a line of its own, whatever is in it.
func FuzzEncode(f *testing.F) {
	f.Add("a\nb", "x|y", uint8(trace.LinkAuth))
	f.Add("\x00\xff", "\r\n", uint8(trace.TxMail))
	f.Fuzz(func(t *testing.T, a, b string, k uint8) {
		e := trace.Event{Kind: trace.Kind(k), Time: when, Text: a, User: a, Rdns: b, Src: a, Method: b, Filter: a, Result: b}
		if EventName(e.Kind) == "" {
			return
		}
		for _, v := range []Protocol{V06, V07} {
			for _, line := range [][]byte{AppendReport(nil, v, &e), AppendRequest(nil, v, when, Auth, 1, 2, a)} {
				if bytes.IndexByte(line, '\n') != len(line)-1 {
					t.Errorf("%q is not one line", line)
				}
			}
		}
	})
}
