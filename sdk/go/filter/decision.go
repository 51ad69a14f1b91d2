package filter

import (
	"fmt"
	"strings"
)

// Decision is the answer to a question. The zero value is Proceed.
type Decision struct {
	word string // "" is proceed
	arg  string
}

// Proceed lets the command through, to the next filter if there is one.
var Proceed = Decision{}

// Junk lets the command through and marks the message as junk; before a
// transaction, all later messages of the session.
var Junk = Decision{word: "junk"}

// Reject refuses the command with the reply "code text". The text may begin
// with an enhanced code (RFC 3463) of the same class. A 421 also ends the
// session.
//
// It panics if code is not 400 to 599 or text begins with an enhanced code of
// another class: those are mistakes in the program. Control bytes in text,
// which may come from outside, become spaces; an empty text becomes "Refused".
func Reject(code int, text string) Decision {
	return Decision{"reject", reply("Reject", code, text)}
}

// Disconnect answers with the reply "code text" and ends the session. Its
// arguments are those of Reject.
func Disconnect(code int, text string) Decision {
	return Decision{"disconnect", reply("Disconnect", code, text)}
}

// Rewrite puts arg in the place of the command's argument and goes on. For
// MailFrom and RcptTo it is a path in its angle brackets, parameters after it
// if there are any; at phases without an argument it counts as Proceed.
func Rewrite(arg string) Decision { return Decision{"rewrite", oneLine(arg)} }

// Tell goes on, as Proceed does, and makes a filter-report of text.
func Tell(text string) Decision { return Decision{"report", oneLine(text)} }

// String gives the decision as the protocol writes it: "reject|550 no".
func (d Decision) String() string {
	switch d.word {
	case "":
		return "proceed"
	case "junk":
		return d.word
	}
	return d.word + "|" + d.arg
}

func reply(who string, code int, text string) string {
	if code < 400 || code > 599 {
		panic(fmt.Sprintf("filter: %s: a refusal has a code of 400 to 599, not %d", who, code))
	}
	text = oneLine(text)
	if text == "" {
		text = "Refused"
	}
	// RFC 2034 s4: the enhanced code's class is the reply's first digit.
	if len(text) > 1 && text[1] == '.' && strings.Contains("245", text[:1]) && int(text[0]-'0') != code/100 {
		panic(fmt.Sprintf("filter: %s: code %d with text %q: the enhanced code is of another class", who, code, text))
	}
	return fmt.Sprintf("%d %s", code, text)
}

// oneLine makes s fit for one line of the protocol.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}
