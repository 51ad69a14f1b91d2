package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func FuzzLoad(f *testing.F) {
	for _, name := range []string{"../../etc/weir.conf", "../../etc/quickstart.conf"} {
		if text, err := os.ReadFile(filepath.FromSlash(name)); err == nil {
			f.Add(string(text))
		}
	}
	f.Add("a = \"b\"\ntable t { $a, x }\nfilter f phase connect match src <t> reject \"550 x\"\nmatch for any reject\n")
	f.Add("include \"x.conf\"\naction a relay host lmtp://[::1]:24\nlisten on lo tls\n")
	f.Add("match !from rdns regex { \"(a\" } for domain <x> action \"%{rcpt[0:1]}\"")
	f.Add("action a maildir \"/%{dest.user[1:-2]:strip|raw}\" junk\nfilter c chain { a when !auth, b }\n")
	f.Fuzz(func(t *testing.T, text string) {
		env := memory(map[string]string{"x.conf": "y = z\ntable q { a = b }", "/t": "a b"})
		c, err := load(env, "weir.conf", []byte(text), map[string]string{"m": "x y"})
		var errs Errors
		if err != nil {
			if !errors.As(err, &errs) || len(errs) == 0 || len(errs) > MaxErrors {
				t.Fatalf("error %T %v", err, err)
			}
			for _, e := range errs {
				if strings.ContainsAny(e.Error(), "\n\r") {
					t.Errorf("error of several lines: %q", e)
				}
			}
			return
		}
		checkInvariants(t, c)
	})
}

// checkInvariants checks what types.go promises of every configuration.
func checkInvariants(t *testing.T, c *Config) {
	for i, name := range c.FilterSeq {
		f := c.Filters[name]
		n := 0
		for _, set := range []bool{f.Proc != nil, f.Builtin != nil, f.Chain != nil} {
			if set {
				n++
			}
		}
		if n != 1 {
			t.Errorf("filter %d, %q: %d of proc, builtin, chain", i, name, n)
		}
		for _, l := range f.Chain {
			if l.Filter.Chain != nil {
				t.Errorf("chain %q in chain %q", l.Filter.Name, name)
			}
		}
	}
	for _, m := range c.Matches {
		fors, froms := 0, 0
		for _, cond := range m.Conditions {
			if cond.Kind.isFor() {
				fors++
			}
			if cond.Kind.isFrom() {
				froms++
			}
		}
		if fors != 1 || froms != 1 {
			t.Errorf("match %q has %d for, %d from", m.Text, fors, froms)
		}
	}
	sockets := 0
	for _, l := range c.Listeners {
		if l.Socket {
			sockets++
		}
		if l.Hostname == "" || l.Filter != "" && c.Filters[l.Filter] == nil {
			t.Errorf("listener %+v", l)
		}
	}
	if sockets != 1 || len(c.Matches) == 0 {
		t.Errorf("%d sockets, %d matches", sockets, len(c.Matches))
	}
}
