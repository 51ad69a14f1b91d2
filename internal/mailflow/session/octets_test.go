package session

import "testing"

// TestOctets: bytes above 127 in commands (RFC 6531 s3.4, s3.5), and what an
// odd client may make of a line.
func TestOctets(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"EHLO", "EHLO \xff.example\n", "501"},
		{"verb", "\xff\xfe\n", "500"},
		{"empty line", "\n", "500"},
		{"sender without SMTPUTF8", hello + "MAIL FROM:<n\u00e9@example.net>\n", "250 553"},
		{"sender with SMTPUTF8", hello + "MAIL FROM:<n\u00e9@example.net> SMTPUTF8\n", "250 250"},
		{"sender in Latin-1", hello + "MAIL FROM:<n\xe9@example.net> SMTPUTF8\n", "250 553"},
		{"recipient without SMTPUTF8", hello + from + "RCPT TO:<n\u00e9@example.test>\n", "250 250 501"},
		{"recipient with SMTPUTF8", hello + "MAIL FROM:<> SMTPUTF8\nRCPT TO:<n\u00e9@example.test>\n", "250 250 550"},
		{"parameter", hello + "MAIL FROM:<a@b.test> \xff=\xff\n", "250 503"},
		{"NUL", "NOOP \x00\n", "500"},
		{"control bytes", hello + "MAIL FROM:<a\x1b@b.test>\n", "250 553"},
		{"in AUTH", hello + "AUTH \xff \xff\n", "250 503"},
		{"RFC 3030 chunk size of 20 digits", hello + from + to + "BDAT 99999999999999999999 LAST\n", "250 250 250 501"},
		{"RFC 3030 chunk that nobody waits for", hello + "BDAT 9223372036854775807\nNOOP\n", "250 552"},
		{"RFC 3030 EHLO between chunks", hello + from + to + "BDAT 6\na: b\n" + hello + "BDAT 6 LAST\nc: d\n", "250 250 250 250 250 503"},
		{"RFC 3030 MAIL between chunks", hello + from + to + "BDAT 6\na: b\n" + from + to + "BDAT 6 LAST\nc: d\n", "250 250 250 250 503 503 250"},
		{"RFC 3030 dot alone in a chunk", hello + from + to + "BDAT 17 LAST\na: b\n\n.\nQUIT\n", "250 250 250 250"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out := newBench().run(t, crlf(tt.in+"QUIT\n"))
			got := codes(out)
			want := "220 " + tt.want
			if got != want && got != want+" 221" {
				t.Errorf("got  %s\nwant %s\n%s", got, want, out)
			}
		})
	}
}
