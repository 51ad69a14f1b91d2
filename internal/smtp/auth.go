package smtp

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// Limits of AUTH in octets.
const (
	MaxAuthLine = 12288 // one line of the exchange, base64 (RFC 4954 s4)
	MaxAuthName = 255   // a user name (RFC 4616 s2)
	MaxPassword = 1024
)

// The prompts of AUTH LOGIN, "Username:" and "Password:", ready to be sent
// after 334.
const (
	LoginUsername = "VXNlcm5hbWU6"
	LoginPassword = "UGFzc3dvcmQ6"
)

// The ways an AUTH exchange can go wrong.
var (
	ErrAuthSyntax    = errors.New("AUTH: malformed response")
	ErrAuthCancelled = errors.New("AUTH: cancelled by the client") // RFC 4954 s4: "*"
)

// Credentials are what a client proves itself with. They are never logged:
// String hides them.
type Credentials struct {
	User     string
	Password string
}

// String gives nothing away.
func (Credentials) String() string { return "(credentials)" }

// GoString gives nothing away.
func (Credentials) GoString() string { return "(credentials)" }

// AuthArgs splits the arguments of AUTH: the mechanism in upper case, and the
// initial response if there is one. White space around the response is taken
// off; hasInitial is true for "PLAIN " with nothing after the space.
func AuthArgs(args []byte) (mechanism string, initial []byte, hasInitial bool) {
	i := bytes.IndexAny(args, " \t")
	if i < 0 {
		return strings.ToUpper(string(args)), nil, false
	}
	return strings.ToUpper(string(args[:i])), bytes.Trim(args[i:], " \t"), true
}

// DecodePlain reads the response of AUTH PLAIN: base64 of "authzid NUL authcid
// NUL password" (RFC 4616). The authorization identity is dropped: nobody here
// acts for somebody else. An empty user or password is malformed.
func DecodePlain(response []byte) (Credentials, error) {
	raw, err := decodeAuth(response)
	if err != nil {
		return Credentials{}, err
	}
	parts := strings.Split(string(raw), "\x00")
	if len(parts) != 3 {
		return Credentials{}, fmt.Errorf("%w: %d fields instead of 3", ErrAuthSyntax, len(parts))
	}
	return checkCredentials(Credentials{User: parts[1], Password: parts[2]})
}

// DecodeLoginName reads the user name of AUTH LOGIN, given at once or after
// the first prompt.
func DecodeLoginName(response []byte) (string, error) {
	raw, err := decodeAuth(response)
	if err != nil {
		return "", err
	}
	if len(raw) == 0 || len(raw) > MaxAuthName || bytes.IndexByte(raw, 0) >= 0 {
		return "", fmt.Errorf("%w: user name empty, too long or with a NUL", ErrAuthSyntax)
	}
	return string(raw), nil
}

// DecodeLoginPassword reads the password that follows user in AUTH LOGIN.
func DecodeLoginPassword(user string, response []byte) (Credentials, error) {
	raw, err := decodeAuth(response)
	if err != nil {
		return Credentials{}, err
	}
	return checkCredentials(Credentials{User: user, Password: string(raw)})
}

func checkCredentials(c Credentials) (Credentials, error) {
	switch {
	case c.User == "" || c.Password == "":
		return Credentials{}, fmt.Errorf("%w: empty user or password", ErrAuthSyntax)
	case len(c.User) > MaxAuthName || len(c.Password) > MaxPassword:
		return Credentials{}, fmt.Errorf("%w: user or password too long", ErrAuthSyntax)
	case strings.IndexByte(c.Password, 0) >= 0:
		return Credentials{}, fmt.Errorf("%w: NUL in the password", ErrAuthSyntax)
	}
	return c, nil
}

// decodeAuth decodes one response. "=" stands for an empty initial one (RFC
// 4954 s4). Errors never quote what was sent.
func decodeAuth(b []byte) ([]byte, error) {
	b = bytes.Trim(b, " \t")
	switch {
	case len(b) == 1 && b[0] == '*':
		return nil, ErrAuthCancelled
	case len(b) == 1 && b[0] == '=':
		return nil, nil
	case len(b) > MaxAuthLine:
		return nil, fmt.Errorf("%w: more than %d octets", ErrAuthSyntax, MaxAuthLine)
	case bytes.ContainsAny(b, "\r\n"): // the decoder would skip them
		return nil, fmt.Errorf("%w: no base64", ErrAuthSyntax)
	}
	out := make([]byte, base64.StdEncoding.DecodedLen(len(b)))
	n, err := base64.StdEncoding.Strict().Decode(out, b)
	if err != nil {
		return nil, fmt.Errorf("%w: no base64", ErrAuthSyntax)
	}
	return out[:n], nil
}

// Mask stands for credentials in reports and logs.
const Mask = "********"

// MaskCommand gives a command line as reports and logs may show it: of AUTH,
// however it is spelled or misspelled, only the mechanism is left, and that
// only if it is a known one. Every other line comes back as it is. The lines
// of an exchange that has begun are to be shown as Mask.
func MaskCommand(line string) string {
	trimmed := strings.TrimLeft(line, " \t\v\f\r")
	if len(trimmed) < len("AUTH") || !strings.EqualFold(trimmed[:len("AUTH")], "AUTH") {
		return line
	}
	words := strings.Fields(trimmed)
	switch {
	case len(words) == 1 && strings.EqualFold(words[0], "AUTH"):
		return line
	case len(words) == 1 || !strings.EqualFold(words[0], "AUTH") || !knownMechanism(words[1]):
		return "AUTH " + Mask
	case len(words) == 2 && strings.HasSuffix(trimmed, words[1]):
		return line
	}
	return "AUTH " + strings.ToUpper(words[1]) + " " + Mask
}

// knownMechanism knows the SASL mechanisms that clients try. A word that is
// none of them may be a response whose mechanism was forgotten.
func knownMechanism(word string) bool {
	switch strings.ToUpper(word) {
	case "PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "EXTERNAL", "ANONYMOUS", "GSSAPI", "NTLM",
		"SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS",
		"XOAUTH", "XOAUTH2", "OAUTHBEARER":
		return true
	}
	return false
}
