package filters

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
)

func TestNullFilter(t *testing.T) {
	if _, err := exec.LookPath("cc"); err != nil {
		t.Skip("no C compiler")
	}
	b, err := Build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ mode, in, want string }{
		{"noop", "filter|0.7|1.2|smtp-in|ehlo|00a1|00b2|client.example\nreport|0.7|1.2|smtp-in|x\nfilter|0.7|1.2|smtp-in|commit|00a1|00b2\n",
			"filter-result|00a1|00b2|proceed\nfilter-result|00a1|00b2|proceed\n"},
		{"data", "filter|0.7|1.2|smtp-in|data-line|00a1|00b2|a|b\nfilter|0.7|1.2|smtp-in|data-line|00a1|00b2|\nfilter|0.7|1.2|smtp-in|data-line|00a1|00b2|.\n",
			"filter-dataline|00a1|00b2|a|b\nfilter-dataline|00a1|00b2|\nfilter-dataline|00a1|00b2|.\n"},
	} {
		cmd := exec.Command(b.Filter, c.mode)
		cmd.Stdin = strings.NewReader("config|protocol|0.7\nconfig|ready\n" + c.in)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		hello, answers, _ := bytes.Cut(out, []byte("register|ready\n"))
		if !bytes.Contains(hello, []byte("register|filter|smtp-in|")) || string(answers) != c.want {
			t.Errorf("%s says\n%s", c.mode, out)
		}
	}
	out, err := exec.Command(b.PingPong, "10", "60").Output()
	if err != nil || len(strings.Fields(string(out))) != 2 {
		t.Errorf("pingpong: %q, %v", out, err)
	}
}
