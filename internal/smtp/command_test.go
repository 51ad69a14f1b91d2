package smtp

import (
	"bytes"
	"testing"
)

func TestParseCommand(t *testing.T) {
	for _, tc := range []struct {
		line    string
		verb    Verb
		args    string
		hasArgs bool
	}{
		{"EHLO client.example.net", Ehlo, "client.example.net", true},
		{"ehlo x", Ehlo, "x", true},
		{"EHLO", Ehlo, "", false},
		{"EHLO ", Ehlo, "", true},
		{"EHLO    x", Ehlo, "x", true},
		{"EHLO x ", Ehlo, "x ", true},
		{"EHLO \tx", Ehlo, "x", true},
		{"EHLO\tx", Unknown, "", false},
		{"HELO a|b", Helo, "a|b", true},
		{"MAIL FROM:<a@b>", Mail, "<a@b>", true},
		{"mail from: <a@b> SIZE=1 ", Mail, "<a@b> SIZE=1 ", true},
		{"MAIL FROM:\t<a@b>", Mail, "<a@b>", true},
		{"MAIL FROM:", Mail, "", true},
		{"MAIL FROM", Unknown, "FROM", true},
		{"MAIL FROM :<a@b>", Unknown, "FROM :<a@b>", true},
		{"MAIL  FROM:<a@b>", Unknown, "FROM:<a@b>", true},
		{"MAIL", Unknown, "", false},
		{"MAIL <a@b>", Unknown, "<a@b>", true},
		{"MAIL TO:<a@b>", Unknown, "TO:<a@b>", true},
		{"MAIL\tFROM:<a@b>", Unknown, "", false},
		{"Rcpt To:<a@b>", Rcpt, "<a@b>", true},
		{"RCPT TO", Unknown, "TO", true},
		{"RCPT FROM:<a@b>", Unknown, "FROM:<a@b>", true},
		{"DATA", Data, "", false},
		{"data now", Data, "now", true},
		{"BDAT 10 LAST", Bdat, "10 LAST", true},
		{"RSET", Rset, "", false},
		{"NOOP some args|here", Noop, "some args|here", true},
		{"NOOP \xff\xfe", Noop, "\xff\xfe", true},
		{"QUIT ", Quit, "", true},
		{"HELP", Help, "", false},
		{"VRFY alice", Vrfy, "alice", true},
		{"EXPN list", Expn, "list", true},
		{"STARTTLS", StartTLS, "", false},
		{"AUTH  PLAIN  x", Auth, "PLAIN  x", true},
		{"WIZ", Wiz, "", false},
		{"", Unknown, "", false},
		{" ", Unknown, "", true},
		{" NOOP", Unknown, "NOOP", true},
		{".", Unknown, "", false},
		{"N\xc3\x96\xffP", Unknown, "", false},
		{"NOOPX", Unknown, "", false},
		{"NOO", Unknown, "", false},
		{"TURN", Unknown, "", false},
	} {
		c := ParseCommand([]byte(tc.line))
		if c.Verb != tc.verb || string(c.Args) != tc.args || c.HasArgs != tc.hasArgs {
			t.Errorf("%q gave %q %q %v", tc.line, c.Verb, c.Args, c.HasArgs)
		}
	}
}

func TestParseCommandDoesNotAllocate(t *testing.T) {
	for _, line := range []string{"MAIL FROM:<a@b> SIZE=1", "NOOP x", "QUIT", "what"} {
		b := []byte(line)
		if n := testing.AllocsPerRun(100, func() { ParseCommand(b) }); n != 0 {
			t.Errorf("%q: %v allocations", line, n)
		}
	}
}

func TestVerbString(t *testing.T) {
	for v := Helo; v <= Wiz; v++ {
		if got := lookupVerb([]byte(v.String())); got != v {
			t.Errorf("%q is verb %d, want %d", v, got, v)
		}
	}
	if Verb(200).String() != "" || Unknown.String() != "" {
		t.Error("an unknown verb has a name")
	}
}

func FuzzParseCommand(f *testing.F) {
	for _, s := range []string{"EHLO x", "MAIL FROM:<a@b> SIZE=1", "rcpt to: <a>", "", " ", "AUTH PLAIN AA==", "MAIL FROM", "EHLO\tx", "NOOP \xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		c := ParseCommand(line)
		if !bytes.HasSuffix(line, c.Args) {
			t.Fatalf("arguments %q are not the end of %q", c.Args, line)
		}
		if len(c.Args) > 0 && (!c.HasArgs || c.Args[0] == ' ' || c.Args[0] == '\t') {
			t.Fatalf("%q gave %+v", line, c)
		}
		if c.Verb != Unknown && !bytes.EqualFold(line[:len(c.Verb.String())], []byte(c.Verb.String())) {
			t.Fatalf("%q is no %s", line, c.Verb)
		}
	})
}
