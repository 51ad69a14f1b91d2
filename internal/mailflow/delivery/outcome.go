package delivery

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"unicode/utf8"
)

// maxText bounds what a foreign server or command can put into an Outcome:
// it ends up in the queue, in logs and in delivery reports.
const maxText = 500

// problem is an error that knows how the attempt ends.
type problem struct {
	status   Status
	enhanced string
	text     string
	cause    error
}

func (p *problem) Error() string { return p.text }
func (p *problem) Unwrap() error { return p.cause }

// deferred makes the error of an attempt that is worth repeating.
func deferred(enhanced, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return &problem{Deferred, enhanced, err.Error(), errors.Unwrap(err)}
}

// failed makes the error of an attempt that would never succeed.
func failed(enhanced, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return &problem{Failed, enhanced, err.Error(), errors.Unwrap(err)}
}

// outcomeOf gives the end of an attempt that ended with err; nil is Delivered.
// Whatever is not known to be final is tried again.
func outcomeOf(err error) Outcome {
	var p *problem
	switch {
	case err == nil:
		return Outcome{Status: Delivered, Enhanced: "2.0.0", Text: "delivered"}
	case errors.As(err, &p):
		return Outcome{Status: p.status, Enhanced: p.enhanced, Text: oneLine(err.Error())}
	}
	return Outcome{Status: Deferred, Enhanced: enhancedOf(err), Text: oneLine(err.Error())}
}

// enhancedOf gives the enhanced status code (RFC 3463 s3) of a local failure.
func enhancedOf(err error) string {
	switch {
	case errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		return "4.2.2" // mailbox full
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EMFILE),
		errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOMEM):
		return "4.3.1" // mail system full
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "4.4.7"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return "4.2.1" // mailbox disabled, not accepting messages
	}
	return "4.3.0"
}

// oneLine gives s without control bytes and invalid UTF-8, of at most maxText
// bytes, so that it can stand in a log, a reply and a delivery report.
func oneLine(s string) string {
	clean := utf8.ValidString(s) && len(s) <= maxText
	for i := 0; clean && i < len(s); i++ {
		clean = s[i] >= 0x20 && s[i] != 0x7f
	}
	if clean {
		return s
	}
	out := make([]byte, 0, min(len(s), maxText))
	for _, r := range s {
		switch {
		case r == utf8.RuneError, r == 0x7f, r < 0x20 && r != '\n' && r != '\t' && r != '\r', 0x80 <= r && r < 0xa0:
			r = '?'
		case r < 0x20:
			r = ' '
		}
		if len(out)+utf8.RuneLen(r) > maxText {
			break
		}
		out = utf8.AppendRune(out, r)
	}
	return string(out)
}
