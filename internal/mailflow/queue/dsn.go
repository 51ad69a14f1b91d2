package queue

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/delivery"
)

// What a report returns of a message at most, in bytes.
const (
	maxReturned        = 100 << 10 // of a whole message; of a larger one only the header
	maxReturnedHeaders = 32 << 10
)

// action is what a report says happened (RFC 3464 s2.3.3). A report of
// deliveries says "relayed" of those recipients that were handed on.
type action string

const (
	actionFailed    action = "failed"
	actionDelayed   action = "delayed"
	actionDelivered action = "delivered"
	actionRelayed   action = "relayed"
)

// dsn is a delivery status notification: multipart/report with a text for
// people, message/delivery-status for programs (RFC 3464) and the message or
// its header. For messages with SMTPUTF8 it has the types of RFC 6533.
type dsn struct {
	hostname   string
	id         mail.MessageID // of the report
	now        time.Time
	action     action
	msg        *mail.Message // that it is about
	recipients []recipient
	body       func() (io.ReadCloser, error)
}

// write writes the report, lines ended by LF. The first error of w or of the
// body is returned; without a body there is no third part.
func (d *dsn) write(w io.Writer) error {
	body, err := d.body()
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("reading message %v: %w", d.msg.ID, err)
	}
	if body != nil {
		defer body.Close()
	}
	b := bufio.NewWriter(w)
	boundary := rand.Text()
	d.header(b, boundary)
	fmt.Fprintf(b, "--%s\n", boundary)
	d.text(b)
	fmt.Fprintf(b, "\n--%s\n", boundary)
	d.status(b)
	if body != nil {
		fmt.Fprintf(b, "\n--%s\n", boundary)
		if err := d.returned(b, body); err != nil {
			return fmt.Errorf("reading message %v: %w", d.msg.ID, err)
		}
	}
	fmt.Fprintf(b, "\n--%s--\n", boundary)
	return b.Flush()
}

func (d *dsn) header(b *bufio.Writer, boundary string) {
	subject := map[action]string{
		actionFailed:    "Undelivered mail returned to you",
		actionDelayed:   "Your mail is delayed",
		actionDelivered: "Your mail was delivered",
	}[d.action]
	fmt.Fprintf(b, "Date: %s\n", d.now.Format(time.RFC1123Z))
	fmt.Fprintf(b, "From: Mail Delivery System <Mailer-Daemon@%s>\n", d.hostname)
	fmt.Fprintf(b, "To: <%s>\n", d.address(d.msg.Sender))
	fmt.Fprintf(b, "Subject: %s\n", subject)
	fmt.Fprintf(b, "Message-ID: <%v.%d@%s>\n", d.id, d.now.Unix(), d.hostname)
	fmt.Fprintf(b, "Auto-Submitted: auto-replied\n") // RFC 3834 s5
	fmt.Fprintf(b, "MIME-Version: 1.0\n")
	// RFC 6522 s3: report-type is the subtype of the second part.
	fmt.Fprintf(b, "Content-Type: multipart/report; report-type=%s;\n boundary=\"%s\"\n", d.subtype("delivery-status"), boundary)
	if d.eightBit() {
		fmt.Fprintf(b, "Content-Transfer-Encoding: 8bit\n")
	}
	fmt.Fprintf(b, "\nThis is a delivery report in MIME format.\n\n")
}

// subtype gives the name of a subtype of message, or its RFC 6533 s4 form.
func (d *dsn) subtype(name string) string {
	if d.msg.UTF8 {
		return "global-" + name
	}
	return name
}

func (d *dsn) eightBit() bool { return d.msg.EightBit || d.msg.UTF8 }

// text writes the part for people.
func (d *dsn) text(b *bufio.Writer) {
	charset := "us-ascii"
	if d.msg.UTF8 {
		charset = "utf-8"
	}
	fmt.Fprintf(b, "Content-Type: text/plain; charset=%s\n", charset)
	if d.msg.UTF8 {
		fmt.Fprintf(b, "Content-Transfer-Encoding: 8bit\n")
	}
	fmt.Fprintf(b, "\nThis is the mail system at %s.\n\n", d.hostname)
	switch d.action {
	case actionFailed:
		fmt.Fprintf(b, "Your message could not be delivered to the recipients below. No further\n"+
			"attempt is made. Should it still matter, please correct the cause and send\nit again.\n")
	case actionDelayed:
		fmt.Fprintf(b, "Your message has not been delivered yet to the recipients below. There is\n"+
			"nothing you need to do: delivery is tried until the time given there.\n")
	default:
		fmt.Fprintf(b, "Your message was delivered to the recipients below. \"Handed on\" means to a\n"+
			"mail system that sends no reports of this kind.\n")
	}
	for _, rc := range d.recipients {
		fmt.Fprintf(b, "\n<%s>\n", d.address(rc.env.Rcpt))
		fold(b, "    ", d.explain(&rc))
		if d.action == actionDelayed {
			fmt.Fprintf(b, "    It is tried until %s.\n", rc.env.Expires.Format(time.RFC1123Z))
		}
	}
	fmt.Fprintf(b, "\nThe message has the id %v here and was received\n%s.\n",
		d.msg.ID, d.msg.Received.Format(time.RFC1123Z))
}

// explain says in a line what happened to one recipient.
func (d *dsn) explain(rc *recipient) string {
	o := &rc.outcome
	text := clean(o.Text, d.msg.UTF8)
	switch {
	case d.actionOf(rc) == actionRelayed:
		text = "Handed on to " + clean(o.Remote, false) + "."
	case d.action == actionDelivered:
		text = "Delivered."
	case o.Remote != "":
		text = "The mail system " + clean(o.Remote, false) + " answered: " + text
	case text == "":
		text = "No reason is known."
	}
	return text
}

// actionOf gives the action for one recipient. RFC 3464 s2.3.3: delivered is
// said of a mailbox, relayed of a system that reports nothing in its turn.
func (d *dsn) actionOf(rc *recipient) action {
	if d.action == actionDelivered && rc.env.Local == (mail.Local{}) && rc.outcome.Remote != "" {
		return actionRelayed
	}
	return d.action
}

// status writes the part for programs.
func (d *dsn) status(b *bufio.Writer) {
	fmt.Fprintf(b, "Content-Type: message/%s\n", d.subtype("delivery-status"))
	if d.msg.UTF8 {
		fmt.Fprintf(b, "Content-Transfer-Encoding: 8bit\n")
	}
	fmt.Fprintf(b, "\n")
	if d.msg.EnvID != "" {
		d.field(b, "Original-Envelope-Id", unxtext(d.msg.EnvID))
	}
	d.field(b, "Reporting-MTA", "dns; "+d.hostname)
	if d.msg.Helo != "" && d.msg.Source != "local" {
		d.field(b, "Received-From-MTA", "dns; "+d.msg.Helo)
	}
	d.field(b, "Arrival-Date", d.msg.Received.Format(time.RFC1123Z))
	for i := range d.recipients {
		fmt.Fprintf(b, "\n")
		d.recipient(b, &d.recipients[i])
	}
}

// recipient writes the fields of RFC 3464 s2.3.
func (d *dsn) recipient(b *bufio.Writer, rc *recipient) {
	if kind, addr, ok := strings.Cut(rc.env.ORcpt, ";"); ok {
		d.field(b, "Original-Recipient", kind+"; "+unxtext(addr))
	}
	// RFC 3461 s5.2.7.1: what an alias leads to is not told; the address is
	// the one that the sender gave.
	rcpt := rc.env.Rcpt.String()
	kind := "rfc822"
	if d.msg.UTF8 && !ascii(rcpt) {
		kind = "utf-8" // RFC 6533 s3
	}
	d.field(b, "Final-Recipient", kind+"; "+rcpt)
	d.field(b, "Action", string(d.actionOf(rc)))
	d.field(b, "Status", d.code(rc))
	o := &rc.outcome
	switch {
	case o.Remote != "":
		d.field(b, "Remote-MTA", "dns; "+o.Remote)
		d.field(b, "Diagnostic-Code", "smtp; "+o.Text)
	case o.Text != "" && d.action != actionDelivered:
		d.field(b, "Diagnostic-Code", "x-weir; "+o.Text)
	}
	d.field(b, "Last-Attempt-Date", d.now.Format(time.RFC1123Z))
	d.field(b, "Final-Log-Id", rc.env.ID.String())
	if d.action == actionDelayed {
		d.field(b, "Will-Retry-Until", rc.env.Expires.Format(time.RFC1123Z))
	}
}

// code gives the status code of a recipient. Its class must fit the action
// (RFC 3464 s2.3.4); only mail that expired fails with a class of 4.
func (d *dsn) code(rc *recipient) string {
	class := map[action]byte{actionFailed: '5', actionDelayed: '4', actionDelivered: '2'}[d.action]
	code := rc.outcome.Enhanced
	if code == statusExpired && d.action == actionFailed && rc.outcome.Status == delivery.Failed {
		return code
	}
	if !enhanced(code) || code[0] != class {
		return string(class) + ".0.0"
	}
	return code
}

// enhanced reports whether s is a status code: digit, dot, one to three
// digits, dot, one to three digits (RFC 3463 s2).
func enhanced(s string) bool {
	parts := strings.Split(s, ".")
	if len(parts) != 3 || len(parts[0]) != 1 {
		return false
	}
	for _, p := range parts {
		if len(p) < 1 || len(p) > 3 || strings.Trim(p, "0123456789") != "" {
			return false
		}
	}
	return true
}

// returned writes the message, or its header if RET says so, if nothing
// failed (RFC 3461 s4.3: RET is for failures; others return headers), or if
// the message is large.
func (d *dsn) returned(b *bufio.Writer, body io.Reader) error {
	full := d.action == actionFailed && d.msg.Ret != mail.RetHdrs && d.msg.Size <= maxReturned
	switch {
	case full && d.msg.UTF8:
		fmt.Fprintf(b, "Content-Type: message/global\n")
	case full:
		fmt.Fprintf(b, "Content-Type: message/rfc822\n")
	case d.msg.UTF8:
		fmt.Fprintf(b, "Content-Type: message/global-headers\n")
	default:
		fmt.Fprintf(b, "Content-Type: text/rfc822-headers\n")
	}
	if d.eightBit() {
		fmt.Fprintf(b, "Content-Transfer-Encoding: 8bit\n")
	}
	fmt.Fprintf(b, "\n")
	if full {
		_, err := io.Copy(b, io.LimitReader(body, maxReturned))
		return err
	}
	return copyHeader(b, body)
}

// copyHeader copies the lines of a header up to the empty one, whole lines
// only and at most maxReturnedHeaders bytes.
func copyHeader(b *bufio.Writer, body io.Reader) error {
	r := bufio.NewReader(io.LimitReader(body, maxReturnedHeaders))
	for {
		line, err := r.ReadSlice('\n')
		if err == bufio.ErrBufferFull { // no header has such lines; enough was seen
			return nil
		}
		if err == io.EOF || len(line) == 1 {
			return nil
		}
		if err != nil {
			return err
		}
		b.Write(line)
	}
}

// field writes one field of the status part, folded.
func (d *dsn) field(b *bufio.Writer, name, value string) {
	fmt.Fprintf(b, "%s:", name)
	fold(b, " ", clean(value, d.msg.UTF8))
}

// foldAt is the length from which lines are folded. RFC 5322 s2.1.1: no line
// may have more than 998 characters.
const (
	foldAt    = 76
	foldForce = 900
)

// fold writes s in lines that begin with indent, broken at spaces.
func fold(b *bufio.Writer, indent, s string) {
	for {
		b.WriteString(indent)
		cut := len(s)
		if cut > foldAt {
			if cut = strings.LastIndexByte(s[:foldAt], ' '); cut <= 0 {
				if cut = strings.IndexByte(s, ' '); cut <= 0 {
					cut = len(s)
				}
			}
			for cut = min(cut, foldForce); cut < len(s) && !utf8.RuneStart(s[cut]); cut-- {
			}
		}
		b.WriteString(s[:cut])
		b.WriteByte('\n')
		if s = strings.TrimLeft(s[cut:], " "); s == "" {
			return
		}
	}
}

// How much of any text, and of an address, a report shows, in bytes.
// RFC 5321 s4.5.3.1.3: a path has 256 octets.
const (
	maxText    = 2000
	maxAddress = 512
)

// address gives an address for a line that is not folded.
func (d *dsn) address(a mail.Address) string {
	s := a.String()
	return clean(s[:min(len(s), maxAddress)], d.msg.UTF8)
}

// clean makes s fit for one line of a report: control characters become
// spaces, and what is not ASCII becomes "?" unless the report is in UTF-8.
func clean(s string, isUTF8 bool) string {
	if len(s) > maxText {
		s = s[:maxText]
	}
	s = strings.ToValidUTF8(s, "?")
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0x2028 || r == 0x2029:
			return ' '
		case r >= 0x80 && !isUTF8:
			return '?'
		}
		return r
	}, s))
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// unxtext undoes the xtext encoding (RFC 3461 s4). What is not well formed
// stays as it is.
func unxtext(s string) string {
	if !strings.Contains(s, "+") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '+' && i+2 < len(s) {
			hi, lo := strings.IndexByte(hexDigits, s[i+1]), strings.IndexByte(hexDigits, s[i+2])
			if hi >= 0 && lo >= 0 {
				b.WriteByte(byte(hi<<4 | lo))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

const hexDigits = "0123456789ABCDEF" // RFC 3461 s4: upper case only
