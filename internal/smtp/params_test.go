package smtp

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/weirmail/weir/internal/mail"
)

var allExt = Extensions{DSN: true, UTF8: true}

func refusal(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	var pe *ParamError
	if !errors.As(err, &pe) {
		t.Fatalf("%v is no ParamError", err)
	}
	return pe.Reply.String()
}

func TestParseMailParams(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want MailParams
	}{
		{"", MailParams{}},
		{"   ", MailParams{}},
		{" SIZE=1000", MailParams{Size: 1000, HasSize: true}},
		{" SIZE=0", MailParams{HasSize: true}},
		{" SIZE=9223372036854775807", MailParams{Size: math.MaxInt64, HasSize: true}},
		{" SIZE=99999999999999999999", MailParams{Size: math.MaxInt64, HasSize: true}},
		{" BODY=7BIT", MailParams{Body: Body7Bit}},
		{" size=1000 body=8bitmime", MailParams{Size: 1000, HasSize: true, Body: Body8BitMIME}},
		{"   SIZE=1  ", MailParams{Size: 1, HasSize: true}},
		{" AUTH=<>", MailParams{Auth: "<>"}},
		{" AUTH=a@example.net", MailParams{Auth: "a@example.net"}},
		{" SMTPUTF8", MailParams{UTF8: true}},
		{" RET=HDRS ENVID=abc+3D123", MailParams{Ret: mail.RetHdrs, EnvID: "abc+3D123"}},
		{" RET=full ENVID=", MailParams{Ret: mail.RetFull}},
		{" RET=BOGUS", MailParams{}},
		{" ENVID=" + strings.Repeat("e", 100), MailParams{EnvID: strings.Repeat("e", 100)}},
	} {
		if p, err := ParseMailParams(tc.in, allExt); err != nil || p != tc.want {
			t.Errorf("%q gave %+v, %v", tc.in, p, err)
		}
	}
}

func TestParseMailParamsRefuses(t *testing.T) {
	const unsupported = "503 5.5.4 Invalid command arguments: Unsupported option "
	for _, tc := range []struct {
		in   string
		ext  Extensions
		want string
	}{
		{"x", allExt, unsupported + "x"},
		{" FOO=bar", allExt, unsupported + "FOO=bar"},
		{" SIZE", allExt, unsupported + "SIZE"},
		{" SIZE=1 FOO", allExt, unsupported + "FOO"},
		{" BODY=BINARYMIME", allExt, unsupported + "BODY=BINARYMIME"},
		{" BODY", allExt, unsupported + "BODY"},
		{" SMTPUTF8=1", allExt, unsupported + "SMTPUTF8=1"},
		{" SMTPUTF8", Extensions{}, unsupported + "SMTPUTF8"},
		{" RET=FULL", Extensions{UTF8: true}, unsupported + "RET=FULL"},
		{" ENVID=x", Extensions{UTF8: true}, unsupported + "ENVID=x"},
		{" RET", allExt, unsupported + "RET"},
		{" SIZE=1\tX", allExt, "501 5.5.4 Invalid command arguments: SIZE is not a number: 1\tX"},
		{" FOO\x01", allExt, unsupported + "FOO?"},
		{" SIZE=abc", allExt, "501 5.5.4 Invalid command arguments: SIZE is not a number: abc"},
		{" SIZE=", allExt, "501 5.5.4 Invalid command arguments: SIZE is not a number: "},
		{" SIZE=-1", allExt, "501 5.5.4 Invalid command arguments: SIZE is not a number: -1"},
		{" SIZE=" + strings.Repeat("1", 21), allExt, "501 5.5.4 Invalid command arguments: SIZE is not a number: " + strings.Repeat("1", 21)},
		{" SIZE=1 size=2", allExt, "501 5.5.4 Invalid command arguments: Option given twice: SIZE"},
		{" SMTPUTF8 SMTPUTF8", allExt, "501 5.5.4 Invalid command arguments: Option given twice: SMTPUTF8"},
		{" ENVID=" + strings.Repeat("e", 101), allExt, "503 5.5.4 Invalid command arguments: option too large, truncated: " + strings.Repeat("e", 101)},
		{" ENVID=a+b", allExt, "501 5.5.4 Invalid command arguments: ENVID is not xtext: a+b"},
	} {
		p, err := ParseMailParams(tc.in, tc.ext)
		if got := refusal(t, err); got != tc.want || p != (MailParams{}) {
			t.Errorf("%q gave %+v, %q, want %q", tc.in, p, got, tc.want)
		}
	}
	if p, err := ParseMailParams(" SIZE=abc", Extensions{LaxSize: true}); err != nil || p.HasSize {
		t.Errorf("lax SIZE=abc: %+v, %v", p, err)
	}
}

func TestParseRcptParams(t *testing.T) {
	const (
		never = "553 NOTIFY option NEVER cannot be combined with other options"
		orcpt = "553 ORCPT address syntax error"
	)
	addr := "rfc822;" + strings.Repeat("a", MaxORcpt-len("rfc822;"))
	for _, tc := range []struct {
		in      string
		earlier mail.Notify
		want    RcptParams
		refused string
	}{
		{"", 0, RcptParams{}, ""},
		{"  ", 0, RcptParams{}, ""},
		{" NOTIFY=FAILURE,DELAY ORCPT=rfc822;alice@example.test", 0, RcptParams{mail.NotifyFailure | mail.NotifyDelay, "rfc822;alice@example.test"}, ""},
		{" notify=success", 0, RcptParams{Notify: mail.NotifySuccess}, ""},
		{" NOTIFY=NEVER", 0, RcptParams{Notify: mail.NotifyNever}, ""},
		{" NOTIFY=NEVER", mail.NotifyNever, RcptParams{Notify: mail.NotifyNever}, ""},
		{" NOTIFY=NEVER", mail.NotifyFailure, RcptParams{}, never},
		{" NOTIFY=DELAY", mail.NotifyNever, RcptParams{}, never},
		{" NOTIFY=NEVER,FAILURE", 0, RcptParams{}, never},
		{" NOTIFY=BOGUS", 0, RcptParams{}, ""},
		{" ORCPT=nosemicolon", 0, RcptParams{}, orcpt},
		{" ORCPT=rfc822;bad+xtext", 0, RcptParams{}, orcpt},
		{" ORCPT=rfc822;bad=xtext", 0, RcptParams{}, orcpt},
		{" ORCPT=rfc822;bad+2", 0, RcptParams{}, orcpt},
		{" ORCPT=rfc822;bad+3d", 0, RcptParams{}, orcpt},
		{" ORCPT=rfc822;good+3D+2B", 0, RcptParams{ORcpt: "rfc822;good+3D+2B"}, ""},
		{" ORCPT=rfc822;\xc3\xa9", 0, RcptParams{}, orcpt},
		{" ORCPT=" + addr, 0, RcptParams{ORcpt: addr}, ""},
		{" ORCPT=" + addr + "a", 0, RcptParams{}, orcpt},
		{" FOO=bar", 0, RcptParams{}, "503 Unsupported option FOO=bar"},
		{"x", 0, RcptParams{}, "503 Unsupported option x"},
		{" NOTIFY=DELAY NOTIFY=DELAY", 0, RcptParams{}, "501 5.5.4 Invalid command arguments: Option given twice: NOTIFY"},
	} {
		p, err := ParseRcptParams(tc.in, allExt, tc.earlier)
		if got := refusal(t, err); got != tc.refused || p != tc.want {
			t.Errorf("%q gave %+v, %q", tc.in, p, got)
		}
	}
	for _, in := range []string{" NOTIFY=NEVER", " ORCPT=rfc822;a"} {
		if _, err := ParseRcptParams(in, Extensions{UTF8: true}, 0); refusal(t, err) != "503 Unsupported option"+in {
			t.Errorf("%q without DSN: %v", in, err)
		}
	}
}

func FuzzParseParams(f *testing.F) {
	for _, s := range []string{" SIZE=1 BODY=8BITMIME SMTPUTF8", " RET=HDRS ENVID=a+3D", " NOTIFY=NEVER ORCPT=rfc822;a@b", " AUTH=<> AUTH=", " \x00=\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := ParseMailParams(s, allExt); refusal(t, err) == "" {
			if p.Size < 0 || len(p.EnvID) > MaxEnvID || !validXtext(p.EnvID) {
				t.Fatalf("%q gave %+v", s, p)
			}
		}
		if p, err := ParseRcptParams(s, allExt, 0); refusal(t, err) == "" {
			if len(p.ORcpt) > MaxORcpt || p.Notify&mail.NotifyNever != 0 && p.Notify != mail.NotifyNever {
				t.Fatalf("%q gave %+v", s, p)
			}
		}
	})
}
