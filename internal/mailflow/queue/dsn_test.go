package queue

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"net/textproto"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	wmail "github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/delivery"
)

var received = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// aReport gives a report on one failure, to be changed by tests.
func aReport() *dsn {
	env := &wmail.Envelope{
		ID:   wmail.NewEnvelopeID(0x11223344, 1),
		Rcpt: wmail.Address{Local: "joe", Domain: "example.net"}, Dest: wmail.Address{Local: "secret", Domain: "elsewhere.example"},
		ORcpt: "rfc822;joe+2Btag@example.net", Expires: received.Add(96 * time.Hour),
	}
	return &dsn{
		hostname: "mx.example.org", id: 0xaabbccdd, now: received.Add(time.Hour), action: actionFailed,
		msg: &wmail.Message{
			ID: 0x11223344, Sender: wmail.Address{Local: "sender", Domain: "from.example"}, Size: 22,
			Received: received, Helo: "client.example", Source: "192.0.2.1", EnvID: "QQ+3D1",
		},
		recipients: []recipient{{env: env, outcome: delivery.Outcome{
			Status: delivery.Failed, Enhanced: "5.1.1", Text: "550 5.1.1 no such user", Remote: "mx.example.net",
		}}},
		body: func() (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader("Subject: test\n\n.hello\n")), nil
		},
	}
}

// part is one part of a report as a mail reader sees it.
type part struct {
	kind string
	body string
}

// parse reads a report back.
func parse(t *testing.T, d *dsn) (*mail.Message, []part) {
	t.Helper()
	var b bytes.Buffer
	if err := d.write(&b); err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(b.String(), "\n") {
		if len(line) > 998 || strings.ContainsAny(line, "\r\x00") {
			t.Errorf("line %d is too long or has control characters: %.60q", i+1, line)
		}
	}
	m, err := mail.ReadMessage(&b)
	if err != nil {
		t.Fatal(err)
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" {
		t.Fatalf("Content-Type %q: %v", kind, err)
	}
	var parts []part
	r := multipart.NewReader(m.Body, params["boundary"])
	for {
		p, err := r.NextRawPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(p)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, part{p.Header.Get("Content-Type"), string(body)})
	}
	if len(parts) > 1 {
		// RFC 6522 s3: report-type is the subtype of the second part.
		if want := "message/" + params["report-type"]; parts[1].kind != want {
			t.Errorf("second part is %s, report-type says %s", parts[1].kind, want)
		}
	}
	return m, parts
}

// fields reads the blocks of a message/delivery-status.
func fields(t *testing.T, s string) []textproto.MIMEHeader {
	t.Helper()
	var out []textproto.MIMEHeader
	r := textproto.NewReader(bufio.NewReader(strings.NewReader(s)))
	for {
		h, err := r.ReadMIMEHeader()
		if len(h) > 0 {
			out = append(out, h)
		}
		if err != nil {
			return out
		}
	}
}

func TestReportOfFailure(t *testing.T) {
	m, parts := parse(t, aReport())
	for name, want := range map[string]string{
		"From": "Mail Delivery System <Mailer-Daemon@mx.example.org>", "To": "<sender@from.example>",
		"Subject": "Undelivered mail returned to you", "Auto-Submitted": "auto-replied", "Mime-Version": "1.0",
		"Date": "Sun, 01 Mar 2026 13:00:00 +0000",
	} {
		if got := m.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if len(parts) != 3 {
		t.Fatalf("%d parts", len(parts))
	}
	for _, want := range []string{"mx.example.org", "<joe@example.net>", "550 5.1.1 no such user", "mx.example.net answered", "11223344"} {
		if !strings.Contains(parts[0].body, want) {
			t.Errorf("the text does not say %q:\n%s", want, parts[0].body)
		}
	}
	got := fields(t, parts[1].body)
	want := []textproto.MIMEHeader{{
		"Original-Envelope-Id": {"QQ=1"},
		"Reporting-Mta":        {"dns; mx.example.org"},
		"Received-From-Mta":    {"dns; client.example"},
		"Arrival-Date":         {"Sun, 01 Mar 2026 12:00:00 +0000"},
	}, {
		"Original-Recipient": {"rfc822; joe+tag@example.net"},
		"Final-Recipient":    {"rfc822; joe@example.net"},
		"Action":             {"failed"},
		"Status":             {"5.1.1"},
		"Remote-Mta":         {"dns; mx.example.net"},
		"Diagnostic-Code":    {"smtp; 550 5.1.1 no such user"},
		"Last-Attempt-Date":  {"Sun, 01 Mar 2026 13:00:00 +0000"},
		"Final-Log-Id":       {"1122334400000001"},
	}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("delivery status (-want +got):\n%s", d)
	}
	if parts[2].kind != "message/rfc822" || parts[2].body != "Subject: test\n\n.hello\n" {
		t.Errorf("third part is %+v", parts[2])
	}
	for _, p := range parts[:2] { // RFC 3461 s5.2.7.1
		if strings.Contains(p.body, "secret") || strings.Contains(p.body, "elsewhere") {
			t.Error("the report tells where an alias leads")
		}
	}
}

func TestReportReturns(t *testing.T) {
	large := func(d *dsn) { d.msg.Size = maxReturned + 1 }
	for _, tc := range []struct {
		name   string
		change func(*dsn)
		want   part
	}{
		{"RET=FULL", func(d *dsn) { d.msg.Ret = wmail.RetFull }, part{"message/rfc822", "Subject: test\n\n.hello\n"}},
		{"RET=HDRS", func(d *dsn) { d.msg.Ret = wmail.RetHdrs }, part{"text/rfc822-headers", "Subject: test\n"}},
		{"at the limit", func(d *dsn) { d.msg.Size = maxReturned }, part{"message/rfc822", "Subject: test\n\n.hello\n"}},
		{"too large", large, part{"text/rfc822-headers", "Subject: test\n"}},
		{"too large, RET=FULL", func(d *dsn) { large(d); d.msg.Ret = wmail.RetFull }, part{"text/rfc822-headers", "Subject: test\n"}},
		{"delay, RET=FULL", func(d *dsn) { d.action, d.msg.Ret = actionDelayed, wmail.RetFull }, part{"text/rfc822-headers", "Subject: test\n"}},
		{"success", func(d *dsn) { d.action = actionDelivered }, part{"text/rfc822-headers", "Subject: test\n"}},
		{"SMTPUTF8", func(d *dsn) { d.msg.UTF8 = true }, part{"message/global", "Subject: test\n\n.hello\n"}},
		{"SMTPUTF8, RET=HDRS", func(d *dsn) { d.msg.UTF8, d.msg.Ret = true, wmail.RetHdrs }, part{"message/global-headers", "Subject: test\n"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := aReport()
			tc.change(d)
			if _, parts := parse(t, d); parts[2] != tc.want {
				t.Errorf("third part is %+v, want %+v", parts[2], tc.want)
			}
		})
	}
}

func TestReportStatus(t *testing.T) {
	for _, tc := range []struct {
		act          action
		status       delivery.Status
		code, remote string
		user         string
		wantAction   string
		wantStatus   string
	}{
		{actionFailed, delivery.Failed, "5.1.1", "mx", "", "failed", "5.1.1"},
		{actionFailed, delivery.Failed, "", "", "u", "failed", "5.0.0"},
		{actionFailed, delivery.Failed, "4.2.2", "", "u", "failed", "5.0.0"},
		{actionFailed, delivery.Failed, "5.1", "", "u", "failed", "5.0.0"},
		{actionFailed, delivery.Failed, "5.1.1234", "", "u", "failed", "5.0.0"},
		{actionFailed, delivery.Failed, "5.1.1\nX: y", "", "u", "failed", "5.0.0"},
		{actionFailed, delivery.Failed, "5..1", "", "u", "failed", "5.0.0"},
		{actionFailed, delivery.Failed, statusExpired, "", "", "failed", "4.4.7"},
		{actionDelayed, delivery.Deferred, "4.4.1", "", "", "delayed", "4.4.1"},
		{actionDelayed, delivery.Deferred, "", "", "", "delayed", "4.0.0"},
		{actionDelivered, delivery.Delivered, "2.1.5", "mx", "", "relayed", "2.1.5"},
		{actionDelivered, delivery.Delivered, "", "", "u", "delivered", "2.0.0"},
		{actionDelivered, delivery.Delivered, "2.0.0", "lmtp", "u", "delivered", "2.0.0"},
	} {
		d := aReport()
		d.action = tc.act
		d.recipients[0].outcome = delivery.Outcome{Status: tc.status, Enhanced: tc.code, Remote: tc.remote}
		d.recipients[0].env.Local.User = tc.user
		_, parts := parse(t, d)
		f := fields(t, parts[1].body)[1]
		if f.Get("Action") != tc.wantAction || f.Get("Status") != tc.wantStatus {
			t.Errorf("%+v: action %q, status %q", tc, f.Get("Action"), f.Get("Status"))
		}
		if got := f.Get("Will-Retry-Until") != ""; got != (tc.act == actionDelayed) {
			t.Errorf("%+v: Will-Retry-Until %q", tc, f.Get("Will-Retry-Until"))
		}
	}
}

func TestReportSMTPUTF8(t *testing.T) {
	d := aReport()
	d.msg.UTF8 = true
	d.msg.Sender.Local = "jürgen"
	d.recipients[0].env.Rcpt.Local = "用户"
	d.recipients[0].outcome.Text = "550 5.1.1 nö"
	m, parts := parse(t, d)
	if got := m.Header.Get("To"); got != "<jürgen@from.example>" {
		t.Errorf("To is %q", got)
	}
	f := fields(t, parts[1].body)[1]
	if f.Get("Final-Recipient") != "utf-8; 用户@example.net" || f.Get("Diagnostic-Code") != "smtp; 550 5.1.1 nö" {
		t.Errorf("fields: %v", f)
	}
	if parts[1].kind != "message/global-delivery-status" {
		t.Errorf("second part is %s", parts[1].kind)
	}
}

func TestReportOfLostBody(t *testing.T) {
	d := aReport()
	d.body = func() (io.ReadCloser, error) { return nil, ErrNotFound }
	if _, parts := parse(t, d); len(parts) != 2 {
		t.Errorf("%d parts", len(parts))
	}
	broken := errors.New("broken")
	d.body = func() (io.ReadCloser, error) { return nil, broken }
	if err := d.write(io.Discard); !errors.Is(err, broken) {
		t.Errorf("error is %v", err)
	}
	d.body = func() (io.ReadCloser, error) { return io.NopCloser(errReader{broken}), nil }
	if err := d.write(io.Discard); !errors.Is(err, broken) {
		t.Errorf("error is %v", err)
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func TestUnxtext(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "abc": "abc", "a+2Bb": "a+b", "+3D": "=", "a+": "a+", "a+2": "a+2", "+2b": "+2b", "+ZZ": "+ZZ", "a+2B+2B": "a++",
	} {
		if got := unxtext(in); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

func TestReturnedHeaderBound(t *testing.T) {
	d := aReport()
	d.msg.Ret = wmail.RetHdrs
	line := "X: " + strings.Repeat("y", 990) + "\n"
	d.body = func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(strings.Repeat(line, 1000))), nil
	}
	_, parts := parse(t, d)
	if n := len(parts[2].body); n > maxReturnedHeaders || n < maxReturnedHeaders-2*len(line) {
		t.Errorf("%d bytes of header are returned", n)
	}
}

// FuzzReport has everything that comes from outside say what it likes: the
// report stays well formed and tells of exactly one recipient.
func FuzzReport(f *testing.F) {
	f.Add("sender", "joe", "550 no", "mx.example", "rfc822;x+20y", "env+3D", "helo", "Subject: x\n\nbody\n", true, uint8(0))
	f.Add("s\r\nBcc: x", "j\x00e", "550\r\n\r\nAction: delivered", "\xff", ";", "+", "", "", false, uint8(1))
	f.Add(strings.Repeat("x", 3000), strings.Repeat("y ", 2000), strings.Repeat("ü", 700), "", "a;b;c", "\u2028", "\x85", "\n", true, uint8(2))
	f.Fuzz(func(t *testing.T, sender, rcpt, text, remote, orcpt, envid, helo, body string, isUTF8 bool, act uint8) {
		d := aReport()
		d.msg.Sender.Local, d.msg.UTF8, d.msg.EnvID, d.msg.Helo = sender, isUTF8, envid, helo
		d.msg.Ret = wmail.RetHdrs
		d.recipients[0].env.Rcpt.Local, d.recipients[0].env.ORcpt = rcpt, orcpt
		d.recipients[0].outcome.Text, d.recipients[0].outcome.Remote = text, remote
		d.action = []action{actionFailed, actionDelayed, actionDelivered}[act%3]
		d.body = func() (io.ReadCloser, error) { return nil, ErrNotFound }
		m, parts := parse(t, d)
		if len(parts) != 2 || len(m.Header) > 9 {
			t.Fatalf("%d parts, header %.300v", len(parts), m.Header)
		}
		blocks := fields(t, parts[1].body)
		if len(blocks) != 2 || len(blocks[1]["Action"]) != 1 || len(blocks[1]["Status"]) != 1 || len(blocks[1]["Final-Recipient"]) != 1 {
			t.Fatalf("delivery status:\n%.1000s", parts[1].body)
		}
		if !utf8.ValidString(parts[1].body) || !isUTF8 && !ascii(parts[1].body) {
			t.Errorf("delivery status is not in its character set:\n%.1000q", parts[1].body)
		}
		d.body = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil }
		if err := d.write(io.Discard); err != nil {
			t.Error(err)
		}
	})
}
