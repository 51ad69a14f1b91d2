package smtp

import "bytes"

// MaxCommandLine is the longest command line that we take, in octets without
// its CR LF. RFC 5321 s4.5.3.1.4 asks for 512 with CR LF and for more where
// extensions need it; this leaves room for all of them.
const MaxCommandLine = 2047

// Verb is an SMTP command.
type Verb uint8

// The commands. Mail and Rcpt stand for "MAIL FROM:" and "RCPT TO:" as a
// whole: "MAIL" without "FROM:" is Unknown. Wiz is what sendmail once had; it
// is known only to be refused.
const (
	Unknown Verb = iota
	Helo
	Ehlo
	Mail
	Rcpt
	Data
	Bdat
	Rset
	Noop
	Quit
	Help
	Vrfy
	Expn
	StartTLS
	Auth
	Wiz
)

var verbNames = [...]string{
	Unknown: "", Helo: "HELO", Ehlo: "EHLO", Mail: "MAIL FROM", Rcpt: "RCPT TO", Data: "DATA",
	Bdat: "BDAT", Rset: "RSET", Noop: "NOOP", Quit: "QUIT", Help: "HELP", Vrfy: "VRFY", Expn: "EXPN",
	StartTLS: "STARTTLS", Auth: "AUTH", Wiz: "WIZ",
}

// String gives the command in upper case, "" for Unknown.
func (v Verb) String() string {
	if int(v) < len(verbNames) {
		return verbNames[v]
	}
	return ""
}

// Command is one parsed command line. Args is a slice of the line given to
// ParseCommand and lives as long as that.
type Command struct {
	Verb    Verb
	Args    []byte // what follows the verb, white space before it taken off
	HasArgs bool   // a separator followed the verb: true for "EHLO ", false for "EHLO"
}

// ParseCommand splits a command line, given without its CR LF. Verbs are
// matched without regard to case (RFC 5321 s2.4). The verb ends at the first
// space, that of MAIL FROM and RCPT TO at the colon; any other form, such as
// a leading space or a tab after the verb, is Unknown. It does not allocate.
func ParseCommand(line []byte) Command {
	for _, v := range [...]Verb{Mail, Rcpt} {
		name := verbNames[v]
		if len(line) > len(name) && line[len(name)] == ':' && foldEqual(line[:len(name)], name) {
			return Command{Verb: v, Args: trimLeft(line[len(name)+1:]), HasArgs: true}
		}
	}
	word, args, found := line, []byte(nil), false
	if i := bytes.IndexByte(line, ' '); i >= 0 {
		word, args, found = line[:i], trimLeft(line[i+1:]), true
	}
	return Command{Verb: lookupVerb(word), Args: args, HasArgs: found}
}

func lookupVerb(word []byte) Verb {
	for v, name := range verbNames {
		if len(name) == len(word) && name != "" && foldEqual(word, name) {
			return Verb(v)
		}
	}
	return Unknown
}

// foldEqual compares b with an upper-case ASCII word of the same length.
func foldEqual(b []byte, upper string) bool {
	if len(b) != len(upper) {
		return false
	}
	for i, c := range b {
		if c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c != upper[i] {
			return false
		}
	}
	return true
}

// trimLeft takes white space off the beginning: space and tab, and the other
// three bytes that C's isspace knows, so that lines split as filters know it.
func trimLeft(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] >= '\t' && b[0] <= '\r') {
		b = b[1:]
	}
	return b
}
