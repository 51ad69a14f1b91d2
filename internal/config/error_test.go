package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const directiveWords = "action, admd, bounce, filter, include, listen, match, mta, pki, proc, queue, smtp, table"

// errorRows are texts of a file with what Load says of them, without the name
// of the file.
var errorRows = []struct {
	text string
	want string // lines
}{
	// Words.
	{"lisen on lo", `1:1: found "lisen", expected one of: ` + directiveWords + ` (did you mean "listen"?)`},
	{"\n  \"match\" reject", `2:3: found "match", expected one of: ` + directiveWords + ` (did you mean "match"?)`},
	{"{", `1:1: "{" is not closed`},
	{"}", `1:1: found "}", expected one of: ` + directiveWords},
	{"match reject x", `1:14: found "x", expected "end of line"`},
	{"queue path \"/a", `1:12: quote is not closed on its line; to go on below, end the line with a backslash`},
	{"queue path /a\x01b", `1:14: control character 0x01`},
	{"queue path \"/a\x00b\"", `1:12: control character 0x00`},
	{"queue path \"/" + strings.Repeat("x", maxWord) + "\"", fmt.Sprintf("1:12: word is longer than %d bytes", maxWord)},
	{"queue $pth", `1:7: macro "pth" is not defined`},
	{"path = x\nqueue $pth /a", `2:7: macro "pth" is not defined (did you mean "path"?)`},
	{"a-b = c", `1:1: a macro's name has letters, digits and underscores only, found "a-b"`},
	{"a = {", "1:5: \"{\" is not closed"},
	{"a = ,", `1:5: found ",", expected a value; put it in quotes`},
	{"a = b c", `1:7: found "c", expected end of line`},
	{"d = \"queue path x\"\n$d", `2:1: found "x", expected a path that begins with /`},

	// Recovery: each line, and the line after a brace that is not closed.
	{"a b\nc d\nmatch rejct", `1:1: found "a", expected one of: ` + directiveWords + "\n" +
		`2:1: found "c", expected one of: ` + directiveWords + "\n" +
		`3:7: found "rejct", expected one of: action, auth, for, from, helo, mail-from, rcpt-to, reject, tag, tls (did you mean "reject"?)`},
	{"table t { a,\nb\nlisten in lo", "1:9: \"{\" is not closed\n3:8: found \"in\", expected \"on\""},
	{"table t { \"a\nb, c }\nmatch x", "1:11: quote is not closed on its line; to go on below, end the line with a backslash\n" +
		`3:7: found "x", expected one of: action, auth, for, from, helo, mail-from, rcpt-to, reject, tag, tls`},

	// Not supported yet.
	{"ca x cert \"/c\"", `1:1: "ca" is not supported yet`},
	{"mda wrapper x y", `1:1: "mda" is not supported yet`},
	{"scheduler limit x 1", `1:1: "scheduler" is not supported yet`},
	{"srs key x", `1:1: "srs" is not supported yet`},
	{"mta limit x 1", `1:5: "limit" is not supported yet`},
	{"queue compression", `1:7: "compression" is not supported yet`},
	{"queue encryption x", `1:7: "encryption" is not supported yet`},
	{"smtp ciphers x", `1:6: "ciphers" is not supported yet`},
	{"pki x dhe auto", `1:7: "dhe" is not supported yet`},
	{"proc p c stats", `1:10: "stats" is not supported yet`},
	{"listen on lo senders <x>", `1:14: "senders" is not supported yet`},
	{"listen on lo proxy-v2", `1:14: "proxy-v2" is not supported yet`},
	{"listen on lo ca x", `1:14: "ca" is not supported yet`},
	{"listen on lo tls-require verify", `1:26: "verify" is not supported yet`},
	{"listen on lo received-auth", `1:14: "received-auth" is not supported yet`},
	{"listen on lo protocols x", `1:14: "protocols" is not supported yet`},
	{"listen on lo ciphers x", `1:14: "ciphers" is not supported yet`},
	{"listen on lo tls auth", `1:18: "auth" without a table of credentials is not supported yet`},
	{"action a mbox wrapper w", `1:15: "wrapper" is not supported yet`},
	{"action a relay", `1:10: relay without host, which looks the MX of the domain up, is not supported yet`},
	{"action a relay tls", `1:16: "tls" is not supported yet`},
	{"action a relay host h srs", `1:23: "srs" is not supported yet`},
	{"action a relay backup", `1:16: "backup" is not supported yet`},
	{"action a relay host smtps://h", `1:21: protocol "smtps" of a relay host is not supported yet`},
	{"action a relay host smtp+tls://l@h", `1:21: protocol "smtp+tls" of a relay host is not supported yet`},
	{"action a relay host smtp://l@h", `1:21: "smtp://l@h": a label for authentication is not supported yet`},
	{"action a relay host <x>", `1:21: a table of hosts is not supported yet; expected a single host`},
	{"table t db:/x", `1:9: tables of type "db" are not supported yet; expected file:/path`},
	{"table t ldap:/x", `1:9: tables of type "ldap" are not supported yet; expected file:/path`},

	// Settings.
	{"admd \"\"", `1:6: found "", expected a name without control characters`},
	{"bounce warn-interval 4", `1:22: found "4", expected a time such as 10s, 30m, 4h or 4d`},
	{"bounce warn-interval 1h, 2h, 3h, 4h, 5h", `1:38: more than 4 delays`},
	{"bounce interval 1h", `1:8: found "interval", expected "warn-interval"`},
	{"mta max-deferred -1", `1:18: found "-1", expected a number from 0 to 2147483647`},
	{"queue ttl 0d", `1:11: found "0d", expected a time such as 10s, 30m, 4h or 4d`},
	{"queue ttl 367d", `1:11: found "367d", expected a time such as 10s, 30m, 4h or 4d`},
	{"queue path run", `1:12: found "run", expected a path that begins with /`},
	{"queue", `1:6: found end of line, expected one of: path, ttl, user`},
	{"smtp max-message-size 35X", `1:23: found "35X", expected a size such as 4096, 512K or 35M`},
	{"smtp max-message-size 0", `1:23: found "0", expected a size such as 4096, 512K or 35M`},
	{"smtp limit", `1:11: found end of line, expected one of: max-errors, max-mails, max-rcpt, max-sessions, max-sessions-per-source`},
	{"smtp limit max-rcpt 0", `1:21: found "0", expected a number from 1 to 2147483647`},
	{"smtp limit max-rcpt 2147483648", `1:21: found "2147483648", expected a number from 1 to 2147483647`},
	{"smtp limit max-rcpts 1", `1:12: found "max-rcpts", expected one of: max-errors, max-mails, max-rcpt, max-sessions, max-sessions-per-source, end of line (did you mean "max-rcpt"?)`},
	{"smtp sub-addr-delim @", `1:21: found "@", expected one character that is neither white space nor @`},
	{"smtp sub-addr-delim \"+-\"", `1:21: found "+-", expected one character that is neither white space nor @`},
	{"pki \"a b\" cert x", `1:5: found "a b", expected a host name`},
	{"pki a", `1:6: found end of line, expected one of: cert, key`},
	{"pki a cert c", `1:5: pki "a" has no key`},
	{"pki a key k", `1:5: pki "a" has no cert`},
	{"pki a cert c key bad", `1:5: pki "a": no certificate in it`},

	// Tables.
	{"table t { }", `1:9: a table needs at least one value`},
	{"table t { a, b = c }", `1:14: "b": a table has values or pairs of key = value, not both`},
	{"table t { a = }", `1:15: found "}", expected a value`},
	{"table t { local }", `1:11: found "local", expected a value or "}"; local is a word of the grammar, as a name it needs quotes`},
	{"table t list", `1:9: "list" is no file: its path must begin with /`},
	{"table t file:list", `1:9: "file:list": the path must begin with /`},
	{"table t /none", `1:9: table "t": open /none: file does not exist`},
	{"table t { a }\ntable t { b }", `2:7: table "t" is declared twice`},
	{"match for domain <nme> reject\ntable name { a }\nmatch for domain <nme> reject",
		"1:19: table \"nme\" is not declared above\n3:19: table \"nme\" is not declared above (did you mean \"name\"?)"},
	{"table t { a = b }\nmatch for domain <t> reject", `2:18: this table is a mapping; a list of domains must be a list`},
	{"table t { a }\naction x mbox alias <t>", `2:21: this table is a list; aliases must be a mapping`},
	{"table n {\n192.0.2.1,\n192.0.2.0/33 }\nmatch from src <n> reject",
		`3:1: "192.0.2.0/33": not an address or network; expected 192.0.2.1, 192.0.2.0/24, 2001:db8::1 or 2001:db8::/32`},
	{"match mail-from { a, \"<b@c>\" } reject", `1:22: "<b@c>": not an address; expected user, @domain, user@domain or user@*.domain`},
	{"match helo regex \"a(\" reject", `1:18: "a(": not a regular expression: missing closing ): a(`},
	{"table c { bob = secret }\nlisten on lo tls auth <c>",
		`1:11: "bob": not a password hash; expected one of bcrypt ($2b$), sha512crypt ($6$) or sha256crypt ($5$)` + "\n" +
			`2:1: tls, tls-require and smtps need a pki with a certificate`},
	{"action a mbox userbase { joe = x }", `1:26: "x": not a user; expected uid:gid:home, as in 1000:1000:/home/joe`},

	// Listeners.
	{"listen lo", `1:8: found "lo", expected "on"`},
	{"listen on", `1:10: found end of line, expected an interface, an address, a name or socket`},
	{"listen on tls", `1:11: found "tls", expected an interface, an address, a name or socket; tls is a word of the grammar, as a name it needs quotes`},
	{"listen on lo prt 25", `1:14: found "prt", expected one of: auth, auth-optional, bare-lf, filter, hostname, hostnames, inet4, inet6, mask-src, no-dsn, pki, port, smtps, tag, tls, tls-require, end of line (did you mean "port"?)`},
	{"listen on lo port 65536", `1:19: found "65536", expected one of: a port from 0 to 65535, smtp, smtps, submission, submissions`},
	{"listen on lo port 25 port 26", `1:22: "port" stands twice in one directive`},
	{"listen on lo tag " + strings.Repeat("t", 33), `1:18: found "` + strings.Repeat("t", 33) + `", expected a tag of 1 to 32 bytes`},
	{"listen on lo inet4 inet6", `1:20: inet4 and inet6 exclude each other; without them there are both`},
	{"listen on ::1 inet4", `1:1: ::1 is no address of family inet4`},
	{"listen on lo tls smtps", `1:18: tls, tls-require and smtps exclude each other`},
	{"listen on lo tls", `1:1: tls, tls-require and smtps need a pki with a certificate`},
	{"listen on lo pki x", `1:18: pki "x" is not declared above`},
	{"pki x cert c key k\nlisten on lo pki x", `2:1: pki needs one of tls, tls-require, smtps`},
	{"table c { b = \"" + testHash + "\" }\nlisten on lo auth <c>", `2:1: auth needs one of tls, tls-require, smtps`},
	{"table c { b = \"" + testHash + "\" }\nlisten on lo tls auth <c> auth-optional <c>", `2:27: auth and auth-optional exclude each other`},
	{"listen on lo hostname -x", `1:23: found "-x", expected the name to greet with: a name such as mail.example.org or an address as in [192.0.2.1]`},
	{"listen on lo\nlisten on lo inet6", `2:1: lo port 25 is listened on already, at weir.conf:1:1`},
	{"listen on socket\nlisten on socket", `2:1: listen on socket stands twice, first at weir.conf:1:1`},
	{"listen on socket port 25", `1:18: found "port", expected one of: filter, mask-src, no-dsn, tag, end of line`},
	{"listen on lo filter x", `1:21: filter "x" is not declared above`},
	{"listen on lo filter { }", `1:21: a chain needs at least one filter`},

	// Filters.
	{"filter f", `1:9: found end of line, expected one of: chain, perl, phase, proc, proc-exec, python`},
	{"filter f proc p", `1:15: proc "p" is not declared above`},
	{"filter f proc-exec \"\"", `1:20: found nothing in quotes, expected a command in quotes`},
	{"filter f proc-exec c workers 257", `1:30: found "257", expected a number from 1 to 256`},
	{"filter f proc-exec c workers 0", `1:30: found "0", expected a number from 1 to 256`},
	{"filter f proc-exec c timeout 0s", `1:30: found "0s", expected a time such as 10s, 30m, 4h or 4d`},
	{"filter f proc-exec c on-failure drop", `1:33: found "drop", expected one of: accept, hold, reject, tempfail`},
	{"filter f proc-exec c protocol 0.5", `1:31: found "0.5", expected one of: 0.6, 0.7`},
	{"filter f proc-exec c user u user v", `1:29: "user" stands twice in one directive`},
	{"filter f proc-exec c chroot x", `1:29: found "x", expected a path that begins with /`},
	{"proc f c\nfilter f proc-exec c", `2:8: proc "f" is declared twice; a filter with a process of its own declares one, too`},
	{"filter f proc-exec c\nfilter f proc-exec d", `2:8: filter "f" is declared twice`},
	{"filter f proc-exec c\nfilter g chain { f, ff }", `2:21: filter "ff" is not declared above`},
	{"filter f proc-exec c\nfilter g chain { f, f }", `2:21: filter "f" is in this chain already`},
	{"filter f proc-exec c\nfilter g chain { f }\nfilter h chain { g }", `3:18: filter "g" is a chain; chains cannot be in chains`},
	{"proc p c\nfilter f proc p\nfilter g proc p\nfilter h chain { f, g }", `4:21: filters "f" and "g" have the same proc "p"; a chain can have it once`},
	{"filter f proc-exec c\nfilter g chain { f when }", `2:25: found "}", expected one of: auth, fcrdns, helo, mail-from, rcpt-to, rdns, src, tag, tls`},
	{"filter f proc-exec c\nfilter g chain { f when auth tls x }", `2:34: found "x", expected one of: ,, }, !, auth, fcrdns, helo, mail-from, rcpt-to, rdns, src, tag, tls`},
	{"filter f phase data-line match fcrdns junk", `1:16: lines of a message are for filters that are programs; found phase "data-line"`},
	{"filter f phase conect match fcrdns junk", `1:16: found "conect", expected one of: auth, commit, connect, data, ehlo, helo, mail-from, noop, quit, rcpt-to, rset, starttls (did you mean "connect"?)`},
	{"filter f phase connect match junk", `1:30: found "junk", expected one of: auth, fcrdns, helo, mail-from, rcpt-to, rdns, src, tag, tls`},
	{"filter f phase connect match fcrdns", `1:36: found end of line, expected one of: bypass, disconnect, junk, reject, report, rewrite, auth, fcrdns, helo, mail-from, rcpt-to, rdns, src, tag, tls`},
	{"filter f phase connect match helo x junk", `1:30: helo is not known at phase connect`},
	{"filter f phase helo match auth junk", `1:27: auth is not known at phase helo`},
	{"filter f phase ehlo match !rcpt-to x junk", `1:28: rcpt-to is not known at phase ehlo`},
	{"filter f phase auth match mail-from x junk", `1:27: mail-from is not known at phase auth`},
	{"filter f phase mail-from match rcpt-to x junk", `1:32: rcpt-to is not known at phase mail-from`},
	{"filter f phase data match rcpt-to x junk", `1:27: rcpt-to is not known at phase data`},
	{"filter f phase commit match fcrdns junk", `1:36: junk comes too late at commit: the message is complete`},
	{"filter f phase commit match fcrdns bypass", `1:36: bypass comes too late at commit: the message is complete`},
	{"filter f phase data match fcrdns reject", `1:40: found end of line, expected a reply in quotes, as in "550 5.7.1 Go away"`},
	{"filter f phase data match fcrdns reject \"250 ok\"", `1:41: reject: "250 ok": not a reply; expected 4xx or 5xx and a text, as in "550 5.7.1 Go away"`},
	{"filter f phase data match fcrdns reject \"550\"", `1:41: reject: "550": not a reply; expected 4xx or 5xx and a text, as in "550 5.7.1 Go away"`},
	{"filter f phase data match fcrdns reject \"550-x\"", `1:41: reject: "550-x": not a reply; expected 4xx or 5xx and a text, as in "550 5.7.1 Go away"`},
	{"filter f phase data match fcrdns disconnect \"550 4.7.1 x\"", `1:45: disconnect: "550 4.7.1 x": the enhanced code 4.7.1 does not fit 550`},
	{"filter f phase data match fcrdns reject \"550 a\tb\"", `1:41: reject: "550 a\tb": a reply has no control characters`},
	{"filter f phase data match fcrdns report \"\"", `1:41: report: found "", expected a text without control characters`},
	{"filter f phase data match rdns regex reject \"550 x\"", `1:38: found "reject", expected a value, "{" or <table>; reject is a word of the grammar, as a name it needs quotes`},

	// Actions.
	{"action local mbox", `1:8: found "local", expected an action name; local is a word of the grammar, as a name it needs quotes`},
	{"action a mail", `1:10: found "mail", expected one of: expand-only, forward-only, lmtp, maildir, mbox, mda, relay`},
	{"action a mbox\naction a mbox", `2:8: action "a" is declared twice`},
	{"action a mbox user u", `1:15: mbox delivers as the recipient; user cannot be given`},
	{"action a expand-only user u", `1:22: expand-only and forward-only do not deliver; user cannot be given`},
	{"table t { a = b }\naction a mbox alias <t> virtual <t>", `2:25: alias and virtual exclude each other`},
	{"action a maildir \"x\"", `1:18: found "x", expected a path that begins with / or, at the user's home, with ~/`},
	{"action a maildir \"/%{rcpt.usr}\"", `1:18: "%{rcpt.usr}": no such value; expected one of: dest, dest.domain, dest.user, mbox.from, rcpt, rcpt.domain, rcpt.user, sender, sender.domain, sender.user, user.directory, user.username`},
	{"action a mda \"x %{rcpt:up}\"", `1:14: "%{rcpt:up}": no modifier "up"; expected one of: lowercase, raw, strip, uppercase`},
	{"action a mda \"x %{rcpt[a]}\"", `1:14: "%{rcpt[a]}": part "[a]" is not like [0], [1:], [:-4] or [0:6]`},
	{"action a mda \"x %{rcpt\"", `1:14: "%{rcpt" is not closed by }`},
	{"action a lmtp host", `1:15: found "host", expected host:port or the path of a socket; host is a word of the grammar, as a name it needs quotes`},
	{"action a lmtp localhost", `1:15: found "localhost", expected host:port or the path of a socket`},
	{"action a relay host lmtp://h", `1:21: "lmtp://h": lmtp has no port of its own; add one, as in lmtp://localhost:24`},
	{"action a relay host http://h", `1:21: "http://h": the protocol of a relay host is one of: lmtp, smtp, smtp+notls`},
	{"action a relay host h:0", `1:21: "h:0" is no host; expected one such as smtp://mail.example.org:25 or lmtp://[::1]:24`},
	{"action a relay host h:65536", `1:21: "h:65536" is no host; expected one such as smtp://mail.example.org:25 or lmtp://[::1]:24`},
	{"action a relay host h mail-from x", `1:33: found "x", expected an address such as user@example.org`},
	{"action a relay host h src 192.0.2.0/24", `1:27: "192.0.2.0/24": not an address; expected 192.0.2.1 or 2001:db8::1`},

	// Rules.
	{"match", `1:6: found end of line, expected one of: action, auth, for, from, helo, mail-from, rcpt-to, reject, tag, tls`},
	{"match for any action x", `1:22: action "x" is not declared above`},
	{"match for ayn reject", `1:11: found "ayn", expected one of: any, domain, local, rcpt-to (did you mean "any"?)`},
	{"match from nowhere reject", `1:12: found "nowhere", expected one of: any, auth, local, mail-from, rdns, socket, src`},
	{"match for any for local reject", `1:15: a rule has one for, this is the second`},
	{"match from any !from socket reject", `1:16: a rule has one from, this is the second`},
	{"match tls ! tls reject", `1:11: ! tls stands twice in one rule`},
	{"match ! reject", `1:9: found "reject", expected one of: auth, for, from, helo, mail-from, rcpt-to, tag, tls`},
	{"match fcrdns reject", `1:7: found "fcrdns", expected one of: action, auth, for, from, helo, mail-from, rcpt-to, reject, tag, tls`},
	{"match tag reject", `1:11: found "reject", expected a value, "{" or <table>; reject is a word of the grammar, as a name it needs quotes`},

	// Include.
	{"include \"none\"", `1:9: cannot include: open none: file does not exist`},
	{"include \"weir.conf\"", `1:9: weir.conf includes itself`},
	{"include \"dir/../weir.conf\"", `1:9: weir.conf includes itself`},
	{"include x.conf y", `1:16: found "y", expected end of line`},
}

// TestErrors has a row for each fault, with the exact message less the name of
// the file.
func TestErrors(t *testing.T) {
	for _, tt := range errorRows {
		_, err := load(memory(testFiles), "weir.conf", []byte(tt.text), nil)
		want := "weir.conf:" + strings.ReplaceAll(tt.want, "\n", "\nweir.conf:")
		want = strings.ReplaceAll(want, `"end of line"`, "end of line")
		if err == nil {
			t.Errorf("%q loads, want %s", tt.text, want)
		} else if diff := cmp.Diff(want, err.Error()); diff != "" {
			t.Errorf("%q:\n%s", tt.text, diff)
		}
	}
}

func TestWholeFileErrors(t *testing.T) {
	_, err := LoadBytes("weir.conf", []byte("# nothing\n"), nil)
	if want := "weir.conf: there is no match rule, so no mail would be accepted; begin with: match for local action NAME"; err == nil || err.Error() != want {
		t.Errorf("empty file: %v", err)
	}
	env := memory(nil)
	env.hostname = func() (string, error) { return "a b", nil }
	_, err = load(env, "weir.conf", []byte(anyMatch), nil)
	if want := `weir.conf: the server's name "a b" is no host name; write one into /etc/weir/mailname`; err == nil || err.Error() != want {
		t.Errorf("bad name: %v", err)
	}
	env.hostname = func() (string, error) { return "", errors.New("no name") }
	if _, err = load(env, "weir.conf", []byte(anyMatch), nil); err == nil || err.Error() != "weir.conf: the server's name is not known: no name" {
		t.Errorf("no name: %v", err)
	}
	_, err = load(memory(nil), "weir.conf", []byte(anyMatch), map[string]string{"a-b": "c"})
	if want := `weir.conf: macro "a-b" of the command line: a name has letters, digits and underscores only`; err == nil || err.Error() != want {
		t.Errorf("macro: %v", err)
	}
}

func TestErrorsEndAtMaxErrors(t *testing.T) {
	for _, lines := range []int{MaxErrors - 1, MaxErrors, MaxErrors + 1, 10 * MaxErrors} {
		_, err := LoadBytes("weir.conf", []byte(strings.Repeat("x\n", lines)), nil)
		var errs Errors
		if !errors.As(err, &errs) || len(errs) != min(lines, MaxErrors) {
			t.Errorf("%d lines: %d errors", lines, len(errs))
		}
	}
}

func TestIncludeErrors(t *testing.T) {
	files := map[string]string{
		"a":        "queue path /a\ninclude \"b\"",
		"b":        "# x\ninclude \"a\"",
		"sub/e":    "\n lisen",
		"many":     strings.Repeat("include \"empty\"\n", maxIncludes-1),
		"too-many": strings.Repeat("include \"empty\"\n", maxIncludes),
		"empty":    "",
	}
	for i := range maxIncludeDepth {
		files[fmt.Sprintf("d%d", i)] = fmt.Sprintf("include \"d%d\"\n", i+1)
	}
	files[fmt.Sprintf("d%d", maxIncludeDepth)] = ""
	for _, tt := range []struct{ file, want string }{
		{"a", "b:2:9: a includes itself"},
		{"sub/e", `sub/e:2:2: found "lisen", expected one of: ` + directiveWords + ` (did you mean "listen"?)`},
		{"d1", ""},
		{"d0", fmt.Sprintf("d%d:1:9: files include each other more than %d deep", maxIncludeDepth-1, maxIncludeDepth)},
		{"many", ""},
		{"too-many", fmt.Sprintf("too-many:%d:9: more than %d files are included", maxIncludes, maxIncludes)},
	} {
		_, err := load(memory(files), "top", []byte("include \""+tt.file+"\""+anyMatch), nil)
		if got := fmt.Sprint(err); got != tt.want && (err != nil || tt.want != "") {
			t.Errorf("%s: %s\nwant %s", tt.file, got, tt.want)
		}
	}
}

func TestWordsInOneDirective(t *testing.T) {
	const fixed = 4 // table, t, "{" and "}"
	for _, extra := range []int{0, 1} {
		text := "table t {" + strings.Repeat(" x", maxWords-fixed+extra) + " }" + anyMatch
		_, err := LoadBytes("weir.conf", []byte(text), nil)
		if want := fmt.Sprintf("weir.conf:1:1: more than %d words in one directive", maxWords); extra == 1 && fmt.Sprint(err) != want || extra == 0 && err != nil {
			t.Errorf("%d more: %v", extra, err)
		}
	}
}

func TestLoadFiles(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(filepath.Join(dir, "none"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if _, err := Load(dir, nil); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("directory: %v", err)
	}
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, []byte("#"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(big, maxFileSize+1); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(big, nil); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("large file: %v", err)
	}
	list := filepath.Join(dir, "list")
	if err := os.WriteFile(list, []byte("192.0.2.1\n\n192.0.2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := LoadBytes("weir.conf", []byte("table l "+list+"\nmatch from src <l> reject"), nil)
	want := `weir.conf:2:16: table "l": ` + list + `:3: "192.0.2": not an address or network; expected 192.0.2.1, 192.0.2.0/24, 2001:db8::1 or 2001:db8::/32`
	if fmt.Sprint(err) != want {
		t.Errorf("%v\nwant %s", err, want)
	}
}

func TestNearest(t *testing.T) {
	words := []string{"listen", "match", "pki", "a name"}
	for found, want := range map[string]string{
		"lsiten": "listen", "liste": "listen", "LISTEN": "listen", "lstn": "listen", "matc": "match",
		"pk": "pki", "ca": "", "": "", "nothing": "", "a nam": "",
	} {
		if got := nearest(found, words); got != want {
			t.Errorf("nearest(%q) = %q, want %q", found, got, want)
		}
	}
}
