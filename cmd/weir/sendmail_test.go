package main

import (
	"fmt"
	"strings"
	"testing"
)

func TestParseSendmail(t *testing.T) {
	describe := func(a *sendmailArgs) string {
		s := fmt.Sprintf("%c", a.mode)
		for _, f := range []struct {
			name string
			set  bool
		}{{"t", a.readHeader}, {"i", !a.dotEnds}, {"v", a.verbose != nil}, {"q", a.flush}} {
			if f.set {
				s += f.name
			}
		}
		if a.fromGiven {
			s += " from=" + a.from
		}
		for _, v := range [][2]string{{"name", a.name}, {"notify", a.notify}, {"ret", a.ret}, {"envid", a.envid}, {"config", a.config}} {
			if v[1] != "" {
				s += " " + v[0] + "=" + v[1]
			}
		}
		return strings.TrimSpace(s + " " + strings.Join(a.rcpts, ","))
	}
	for in, want := range map[string]string{
		"a b":                          "m a,b",
		"-t":                           "mt",
		"-ti -v":                       "mtiv",
		"-f x a":                       "m from=x a",
		"-fx a":                        "m from=x a",
		"-tfx":                         "mt from=x",
		"-f <> a":                      "m from=<> a",
		"-r x":                         "m from=x",
		"-F Name a":                    "m name=Name a",
		"-oi a":                        "mi a",
		"-o i a":                       "mi a",
		"-oem -odi -oee a":             "m a",
		"-i -- -t a":                   "mi -t,a",
		"a -t":                         "mt a",
		"- a":                          "m -,a",
		"-bs":                          "s",
		"-bm a":                        "m a",
		"-bp":                          "p",
		"-bi":                          "i",
		"-q":                           "mq",
		"-q30m":                        "mq",
		"-N never -R hdrs -V x a":      "m notify=never ret=hdrs envid=x a",
		"-C /c -t":                     "mt config=/c",
		"-B8BITMIME -U -G -em -d0 a":   "m a",
		"-O DeliveryMode=b -h 3 -X /x": "m",
		"-L tag -p smtp -A m -J":       "m",
		"-nmxsST a":                    "m a",
	} {
		a, err := parseSendmail(strings.Fields(in))
		if err != nil || describe(a) != want {
			t.Errorf("sendmail %s: %q, %v; want %q", in, describe(a), err, want)
		}
	}
	for in, want := range map[string]string{
		"-f":     "option -f needs a value",
		"-tF":    "option -F needs a value",
		"-Z":     "unknown option -Z",
		"--help": "unknown option --",
		"-bd":    "-bd is not offered",
		"-b m":   "",
		"-bmx":   "-bmx is not offered",
	} {
		_, err := parseSendmail(strings.Fields(in))
		if (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("sendmail %s: %v, want %q", in, err, want)
		}
	}
}
