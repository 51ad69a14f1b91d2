package smtp

import (
	"math"
	"strconv"
	"strings"

	"github.com/weirmail/weir/internal/mail"
)

// Limits of parameters in octets.
const (
	MaxEnvID = 100 // RFC 3461 s4.4
	MaxORcpt = 500 // RFC 3461 s4.2
)

// Extensions says which parameters of MAIL and RCPT a listener takes. SIZE,
// BODY and AUTH are always taken, after HELO too.
type Extensions struct {
	DSN  bool // RET, ENVID, NOTIFY, ORCPT (RFC 3461)
	UTF8 bool // SMTPUTF8 (RFC 6531)

	// LaxSize takes a SIZE that is no number as if it were not given, as
	// OpenSMTPD does. Otherwise it is an error (RFC 1870 s4).
	LaxSize bool
}

// Body is the value of the BODY parameter (RFC 6152).
type Body uint8

// The values of BODY. BINARYMIME (RFC 3030) is not offered.
const (
	BodyUnset Body = iota
	Body7Bit
	Body8BitMIME
)

// MailParams are the parameters of MAIL.
type MailParams struct {
	Size    int64 // octets; set if HasSize (RFC 1870)
	HasSize bool
	Body    Body
	UTF8    bool   // SMTPUTF8 (RFC 6531)
	Auth    string // value of AUTH=, still in xtext (RFC 4954 s5)
	Ret     mail.Ret
	EnvID   string // still in xtext
}

// RcptParams are the parameters of RCPT.
type RcptParams struct {
	Notify mail.Notify
	ORcpt  string // "type;xtext"
}

// ParamError is a parameter that is not taken. Reply says so to the client.
type ParamError struct{ Reply Reply }

// Error gives the reply's text.
func (e *ParamError) Error() string { return "refused parameter: " + e.Reply.Text() }

const badArguments = "Invalid command arguments: "

// paramError makes the error for the reply of the given parts. Values come
// from the client and may hold bytes that a reply must not.
func paramError(code int, enhanced, text, value string) *ParamError {
	return &ParamError{MustReply(code, enhanced, text+printable([]byte(value)))}
}

// ParseMailParams reads the parameters of MAIL, as ParseMailArg left them.
// They are divided by spaces. The error is a *ParamError; of several wrong
// parameters the first counts.
func ParseMailParams(s string, ext Extensions) (MailParams, error) {
	var p MailParams
	var seen seenParams
	for opt := range strings.SplitSeq(s, " ") {
		if opt == "" {
			continue
		}
		key, value, hasValue := strings.Cut(opt, "=")
		key = strings.ToUpper(key)
		err := p.set(key, value, opt, hasValue, ext)
		if err == nil {
			err = seen.add(key)
		}
		if err != nil {
			return MailParams{}, err
		}
	}
	return p, nil
}

func (p *MailParams) set(key, value, opt string, hasValue bool, ext Extensions) *ParamError {
	switch {
	case key == "AUTH" && hasValue:
		p.Auth = value
	case key == "SIZE" && hasValue:
		return p.setSize(value, ext)
	case key == "BODY" && strings.EqualFold(value, "7BIT"):
		p.Body = Body7Bit
	case key == "BODY" && strings.EqualFold(value, "8BITMIME"):
		p.Body = Body8BitMIME
	case key == "SMTPUTF8" && !hasValue && ext.UTF8:
		p.UTF8 = true
	case key == "RET" && hasValue && ext.DSN:
		// A value that nobody knows is as good as none; OpenSMTPD takes it so.
		switch strings.ToUpper(value) {
		case "FULL":
			p.Ret = mail.RetFull
		case "HDRS":
			p.Ret = mail.RetHdrs
		}
	case key == "ENVID" && hasValue && ext.DSN:
		if len(value) > MaxEnvID {
			return paramError(503, "5.5.4", badArguments+"option too large, truncated: ", value)
		}
		if !validXtext(value) {
			return paramError(501, "5.5.4", badArguments+"ENVID is not xtext: ", value)
		}
		p.EnvID = value
	default:
		return paramError(503, "5.5.4", badArguments+"Unsupported option ", opt)
	}
	return nil
}

// setSize: RFC 1870 s4: 1*20DIGIT. What does not fit an int64 is larger than
// any limit and counts as the largest.
func (p *MailParams) setSize(value string, ext Extensions) *ParamError {
	if !isDigits(value, 20) {
		if ext.LaxSize {
			return nil
		}
		return paramError(501, "5.5.4", badArguments+"SIZE is not a number: ", value)
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		n = math.MaxInt64
	}
	p.Size, p.HasSize = n, true
	return nil
}

// ParseRcptParams reads the parameters of RCPT, as ParseRcptArg left them. The
// error is a *ParamError.
//
// earlier is the NOTIFY of the transaction's recipients so far: NEVER is
// refused together with any other condition in it. RFC 3461 s4.1 means each
// recipient by itself, for which earlier is zero; OpenSMTPD does not forget
// what it was told for another recipient.
func ParseRcptParams(s string, ext Extensions, earlier mail.Notify) (RcptParams, error) {
	var p RcptParams
	var seen seenParams
	for opt := range strings.SplitSeq(s, " ") {
		if opt == "" {
			continue
		}
		key, value, hasValue := strings.Cut(opt, "=")
		key = strings.ToUpper(key)
		var err *ParamError
		switch {
		case key == "NOTIFY" && hasValue && ext.DSN:
			err = p.setNotify(value, earlier)
		case key == "ORCPT" && hasValue && ext.DSN:
			err = p.setORcpt(value)
		default:
			err = paramError(503, "", "Unsupported option ", opt)
		}
		if err == nil {
			err = seen.add(key)
		}
		if err != nil {
			return RcptParams{}, err
		}
	}
	return p, nil
}

// setNotify: RFC 3461 s4.1. A condition that nobody knows is left out.
func (p *RcptParams) setNotify(value string, earlier mail.Notify) *ParamError {
	for word := range strings.SplitSeq(value, ",") {
		switch strings.ToUpper(word) {
		case "SUCCESS":
			p.Notify |= mail.NotifySuccess
		case "FAILURE":
			p.Notify |= mail.NotifyFailure
		case "DELAY":
			p.Notify |= mail.NotifyDelay
		case "NEVER":
			p.Notify |= mail.NotifyNever
		}
	}
	if all := p.Notify | earlier; all&mail.NotifyNever != 0 && all != mail.NotifyNever {
		return paramError(553, "", "NOTIFY option NEVER cannot be combined with other options", "")
	}
	return nil
}

// setORcpt: RFC 3461 s4.2: addr-type ";" xtext.
func (p *RcptParams) setORcpt(value string) *ParamError {
	_, addr, ok := strings.Cut(value, ";")
	if !ok || !validXtext(addr) || len(value) > MaxORcpt || controlByte(value) >= 0 {
		return paramError(553, "", "ORCPT address syntax error", "")
	}
	p.ORcpt = value
	return nil
}

// seenParams finds a keyword that stands twice. RFC 5321 s4.1.1.11 leaves it
// to the server; two different values of one parameter have no meaning.
type seenParams []string

func (s *seenParams) add(key string) *ParamError {
	for _, k := range *s {
		if k == key {
			return paramError(501, "5.5.4", badArguments+"Option given twice: ", key)
		}
	}
	*s = append(*s, key)
	return nil
}

// hasUTF8Param looks for SMTPUTF8 before the parameters are parsed: the path
// that precedes them is read by its rules (RFC 6531 s3.4).
func hasUTF8Param(s string) bool {
	for opt := range strings.SplitSeq(s, " ") {
		if strings.EqualFold(opt, "SMTPUTF8") {
			return true
		}
	}
	return false
}

func isDigits(s string, max int) bool {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return s != "" && len(s) <= max
}
