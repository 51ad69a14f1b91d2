package smtp

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func b64(s string) []byte { return []byte(base64.StdEncoding.EncodeToString([]byte(s))) }

func TestDecodePlain(t *testing.T) {
	long := strings.Repeat("u", MaxAuthName)
	pass := strings.Repeat("p", MaxPassword)
	for _, tc := range []struct {
		in         []byte
		user, pass string
	}{
		{b64("\x00alice\x00secret"), "alice", "secret"},
		{b64("bob\x00alice\x00secret"), "alice", "secret"},
		{b64("\x00al|ice\x00 "), "al|ice", " "},
		{append([]byte("  "), b64("\x00al ice\x00x")...), "al ice", "x"},
		{b64("\x00" + long + "\x00" + pass), long, pass},
	} {
		if c, err := DecodePlain(tc.in); err != nil || c.User != tc.user || c.Password != tc.pass {
			t.Errorf("%s gave %q, %q, %v", tc.in, c.User, c.Password, err)
		}
	}
	for _, in := range [][]byte{
		nil, []byte("="), []byte("!!!!"), []byte("AAA"), []byte("AGE="), b64("alice"), b64("\x00alice"), b64("\x00\x00x"), b64("\x00alice\x00"),
		b64("\x00alice\x00a\x00b"), b64("\x00a" + long + "\x00x"), b64("\x00a\x00x" + pass), []byte("AGFsaWNlAHNlY3JldA"),
		[]byte("AGFsaWNl\nAHNlY3JldA=="), []byte("AGFsaWNlAHNlY3JldB=="), []byte(strings.Repeat("A", MaxAuthLine+4)),
	} {
		if c, err := DecodePlain(in); !errors.Is(err, ErrAuthSyntax) || c != (Credentials{}) {
			t.Errorf("%.40q gave %#v, %v", in, c, err)
		}
	}
	if _, err := DecodePlain([]byte("*")); !errors.Is(err, ErrAuthCancelled) {
		t.Errorf("*: %v", err)
	}
}

func TestDecodeLogin(t *testing.T) {
	user, err := DecodeLoginName(b64("alice"))
	if err != nil || user != "alice" {
		t.Fatal(user, err)
	}
	c, err := DecodeLoginPassword(user, b64("secret"))
	if err != nil || c.User != "alice" || c.Password != "secret" {
		t.Fatal(err)
	}
	for in, want := range map[string]error{
		"*": ErrAuthCancelled, "": ErrAuthSyntax, "=": ErrAuthSyntax, "?": ErrAuthSyntax, string(b64("a\x00b")): ErrAuthSyntax,
		string(b64(strings.Repeat("u", MaxPassword+1))): ErrAuthSyntax,
	} {
		if _, err := DecodeLoginName([]byte(in)); !errors.Is(err, want) {
			t.Errorf("name %.20q: %v", in, err)
		}
		if _, err := DecodeLoginPassword("alice", []byte(in)); !errors.Is(err, want) {
			t.Errorf("password %.20q: %v", in, err)
		}
	}
	for s, want := range map[string]string{LoginUsername: "Username:", LoginPassword: "Password:"} {
		if raw, err := base64.StdEncoding.DecodeString(s); err != nil || string(raw) != want {
			t.Errorf("prompt %q", raw)
		}
	}
}

func TestCredentialsDoNotPrint(t *testing.T) {
	c := Credentials{"alice", "secret"}
	for _, s := range []string{fmt.Sprint(c), fmt.Sprintf("%v %+v %#v %s", c, c, c, &c)} {
		if strings.Contains(s, "secret") || strings.Contains(s, "alice") {
			t.Errorf("printed as %s", s)
		}
	}
}

func TestAuthArgs(t *testing.T) {
	for _, tc := range []struct {
		in, mech, initial string
		has               bool
	}{
		{"PLAIN", "PLAIN", "", false},
		{"plain AAAA", "PLAIN", "AAAA", true},
		{"PLAIN  AAAA ", "PLAIN", "AAAA", true},
		{"PLAIN\tAAAA", "PLAIN", "AAAA", true},
		{"PLAIN ", "PLAIN", "", true},
		{"", "", "", false},
	} {
		mech, initial, has := AuthArgs([]byte(tc.in))
		if mech != tc.mech || string(initial) != tc.initial || has != tc.has {
			t.Errorf("%q gave %q %q %v", tc.in, mech, initial, has)
		}
	}
}

func TestMaskCommand(t *testing.T) {
	for in, want := range map[string]string{
		"AUTH PLAIN AGFs":      "AUTH PLAIN ********",
		"auth plain AGFs":      "AUTH PLAIN ********",
		"AUTH  PLAIN  AGFs":    "AUTH PLAIN ********",
		"AUTH PLAIN ":          "AUTH PLAIN ********",
		"AUTH LOGIN YWxpY2U=":  "AUTH LOGIN ********",
		" AUTH PLAIN AGFs":     "AUTH PLAIN ********",
		"AUTH\tPLAIN\tAGFs":    "AUTH PLAIN ********",
		"AUTH PLAIN\vAGFs":     "AUTH PLAIN ********",
		"AUTH AGFsaWNl":        "AUTH ********",
		"AUTHPLAIN AGFs":       "AUTH ********",
		"AUTH=PLAIN AGFs":      "AUTH ********",
		"AUTHENTICATE AGFs":    "AUTH ********",
		"AUTH CRAM-MD5 AGFs x": "AUTH CRAM-MD5 ********",
		"AUTH":                 "AUTH",
		"AUTH ":                "AUTH ",
		"AUTH PLAIN":           "AUTH PLAIN",
		"auth login":           "auth login",
		"AUTH CRAM-MD5":        "AUTH CRAM-MD5",
		"EHLO x":               "EHLO x",
		"":                     "",
		"MAIL FROM:<a> AUTH=b": "MAIL FROM:<a> AUTH=b",
	} {
		if got := MaskCommand(in); got != want {
			t.Errorf("%q is shown as %q, want %q", in, got, want)
		}
	}
}

func FuzzAuth(f *testing.F) {
	for _, s := range []string{"PLAIN AGFsaWNlAHNlY3JldA==", "LOGIN", "PLAIN =", "PLAIN *", "", "\t", "plain\tAA=="} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		_, initial, _ := AuthArgs(in)
		for _, response := range [][]byte{in, initial} {
			c, err := DecodePlain(response)
			if (err == nil) != (c.User != "" && c.Password != "") || strings.Contains(c.User+c.Password, "\x00") {
				t.Fatalf("%q gave %q %q %v", response, c.User, c.Password, err)
			}
			if err != nil && !errors.Is(err, ErrAuthSyntax) && !errors.Is(err, ErrAuthCancelled) {
				t.Fatal(err)
			}
			name, err := DecodeLoginName(response)
			if (err == nil) != (name != "") {
				t.Fatalf("%q gave %q %v", response, name, err)
			}
		}
		// Whatever stands between AUTH and a secret, the secret is not shown.
		if shown := MaskCommand("AUTH" + string(in) + " c2VjcmV0"); strings.Contains(shown, "c2VjcmV0") {
			t.Fatalf("%q is shown as %q", in, shown)
		}
	})
}
