package filter_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/weirmail/weir/sdk/go/filter"
	"github.com/weirmail/weir/sdk/go/filter/filtertest"
)

const hello = "config|protocol|0.7\nconfig|ready\n"

// answers gives what f writes for input, after its registrations.
func answers(f *filter.Filter, input string) (string, error) {
	var out bytes.Buffer
	err := f.Serve(strings.NewReader(hello+input), &out)
	_, rest, _ := strings.Cut(out.String(), "register|ready\n")
	return rest, err
}

func question(phase, token, arg string) string {
	return "filter|0.7|1.000001|smtp-in|" + phase + "|00000000000000ab|" + token + "|" + arg + "\n"
}

func TestDecisions(t *testing.T) {
	for _, c := range []struct {
		d    filter.Decision
		want string
	}{
		{filter.Proceed, "proceed"},
		{filter.Decision{}, "proceed"},
		{filter.Junk, "junk"},
		{filter.Reject(550, "5.7.1 no"), "reject|550 5.7.1 no"},
		{filter.Reject(400, "a|b"), "reject|400 a|b"},
		{filter.Reject(599, ""), "reject|599 Refused"},
		{filter.Reject(550, "a\r\nb\x00"), "reject|550 a  b "},
		{filter.Disconnect(421, "4.7.0 bye"), "disconnect|421 4.7.0 bye"},
		{filter.Rewrite("<a@b> SIZE=1"), "rewrite|<a@b> SIZE=1"},
		{filter.Tell("x\ny"), "report|x y"},
	} {
		f := filter.New()
		f.On(filter.Noop, func(q *filter.Question) { q.Answer(c.d) })
		got, err := answers(f, question("noop", "t", ""))
		if want := "filter-result|00000000000000ab|t|" + c.want + "\n"; err != nil || got != want || c.d.String() != c.want {
			t.Errorf("got %q, %q, %v; want %q", got, c.d, err, want)
		}
	}
}

func TestMistakesFailAtOnce(t *testing.T) {
	for name, mistake := range map[string]func(){
		"code 250":        func() { filter.Reject(250, "ok") },
		"code 399":        func() { filter.Reject(399, "x") },
		"code 600":        func() { filter.Disconnect(600, "x") },
		"class":           func() { filter.Reject(550, "4.7.1 x") },
		"phase":           func() { filter.New().On("data-line", nil) },
		"event":           func() { filter.New().OnReport("tx-none", nil) },
		"header":          func() { filter.NewTransaction("", nil, "").AddHeader("a b", "x") },
		"header nameless": func() { filter.NewTransaction("", nil, "").RemoveHeader("") },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if err := recover(); err == nil || !strings.HasPrefix(fmt.Sprint(err), "filter: ") {
					t.Errorf("got %v, want a panic that names the package", err)
				}
			}()
			mistake()
		})
	}
}

func TestAnsweredTwice(t *testing.T) {
	f := filter.New()
	f.On(filter.Noop, func(q *filter.Question) {
		q.Answer(filter.Proceed)
		defer func() {
			if recover() == nil {
				t.Error("a second answer went through")
			}
		}()
		q.Answer(filter.Proceed)
	})
	if got, err := answers(f, question("noop", "t", "")); err != nil || strings.Count(got, "\n") != 1 {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestOnlyWhatIsHandledIsRegistered(t *testing.T) {
	f := filter.New()
	f.On(filter.RcptTo, func(q *filter.Question) { q.Answer(filter.Proceed) })
	f.Want(filter.MessageSize, filter.FinalAddress)
	got := filtertest.Start(t, f, filter.MessageSize).Registered()
	want := []string{
		"register|report|smtp-in|link-connect", "register|report|smtp-in|link-greeting",
		"register|report|smtp-in|link-identify", "register|report|smtp-in|link-tls",
		"register|report|smtp-in|link-auth", "register|report|smtp-in|link-disconnect",
		"register|filter|smtp-in|rcpt-to", "register|feature|message-size",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestSession(t *testing.T) {
	f := filter.New()
	var got []string
	f.On(filter.MailFrom, func(q *filter.Question) {
		s := q.Session
		got = append(got, s.Hostname, s.FCrDNS, s.Remote, s.Local, s.Server, s.Helo, s.TLS, s.User)
		q.Answer(filter.Proceed)
	})
	srv := filtertest.Start(t, f)
	c := srv.Session()
	c.Report(filter.LinkConnect, "a|b|fail|[2001:db8::1]:99|unix:/run/x")
	c.Report(filter.LinkIdentify, "EHLO|me")
	c.Report(filter.LinkTLS, "TLSv1.3:X:256")
	c.Report(filter.LinkAuth, "pass|u|x")
	c.Ask(filter.MailFrom, "a@b")
	c.End()
	if want := []string{"a|b", "fail", "2001:db8::1", "local", "mx.example", "me", "TLSv1.3:X:256", "u|x"}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestReports(t *testing.T) {
	f := filter.New()
	var got []string
	for _, e := range []filter.Event{filter.TxMail, filter.TxCommit, filter.FilterResponse, filter.Timeout} {
		f.OnReport(e, func(r *filter.Report) {
			got = append(got, strings.Join([]string{string(r.Event), r.Message, r.Result, r.Method, r.Text}, ","))
			if r.Time.UnixMicro() != 1700000000000000 {
				t.Errorf("time %v", r.Time)
			}
		})
	}
	f.On(filter.Noop, func(q *filter.Question) { q.Answer(filter.Proceed) })
	c := filtertest.Start(t, f).Session()
	c.Report(filter.TxMail, "0badcafe|ok|a|b@c")
	c.Report(filter.TxCommit, "0badcafe|195")
	c.Report(filter.FilterResponse, "mail-from|reject|550 x|y")
	c.Report(filter.Timeout, "")
	c.Ask(filter.Noop, "")
	want := []string{"tx-mail,0badcafe,ok,,a|b@c", "tx-commit,0badcafe,,,195", "filter-response,,,mail-from,reject|550 x|y", "timeout,,,,"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestCommitSize(t *testing.T) {
	f := filter.New()
	f.Want(filter.MessageSize)
	f.On(filter.Commit, func(q *filter.Question) {
		if n, ok := q.Size(); !ok || n > 100 {
			q.Answer(filter.Reject(552, "5.3.4 too big"))
			return
		}
		q.Answer(filter.Proceed)
	})
	c := filtertest.Start(t, f, filter.MessageSize).Session()
	for arg, want := range map[string]string{"100": "proceed", "101": "reject|552 5.3.4 too big", "": "reject|552 5.3.4 too big"} {
		if got := c.Ask(filter.Commit, arg); got != want {
			t.Errorf("%q: got %q, want %q", arg, got, want)
		}
	}
}

func TestMessageBytes(t *testing.T) {
	const text = "Subject: x\n\n.\n..\n.x\na|b\n\xe9\xff\x00\n\n \nend\n"
	copies := map[string]func(*filter.Message){
		"copy": func(m *filter.Message) { io.Copy(m, m) },
		"lines": func(m *filter.Message) {
			for line := range m.Lines() {
				m.WriteLine(line)
			}
		},
		"whole": func(m *filter.Message) {
			all, _ := io.ReadAll(m)
			m.Write(bytes.ReplaceAll(bytes.TrimSuffix(all, []byte("\n")), []byte("\n"), []byte("\r\n")))
			m.Close()
		},
	}
	for name, handler := range copies {
		f := filter.New()
		f.OnMessage(handler)
		c := filtertest.Start(t, f).Session()
		for range 2 {
			if got, answer := c.Mail("a@b", "c@d", text); got != text || answer != "proceed" {
				t.Errorf("%s: got %q, %q", name, got, answer)
			}
		}
	}
}

func TestMessageEmptied(t *testing.T) {
	f := filter.New()
	f.OnMessage(func(m *filter.Message) {})
	if got, _ := filtertest.Start(t, f).Session().Mail("a@b", "c@d", "x\ny\n"); got != "" {
		t.Errorf("got %q", got)
	}
}

// A handler of a message that is given up is told, and what it writes then
// goes nowhere.
func TestMessageGone(t *testing.T) {
	f := filter.New()
	done := make(chan error, 1)
	f.OnMessage(func(m *filter.Message) {
		_, err := io.ReadAll(m)
		m.WriteLine([]byte("x"))
		m.Decide(filter.Junk)
		done <- errors.Join(err, m.Close())
	})
	line := question("data-line", "d", "hello")
	got, err := answers(f, line+"report|0.7|1.0|smtp-in|tx-rollback|00000000000000ab|0badcafe\n"+question("commit", "c", ""))
	if err != nil || got != "filter-result|00000000000000ab|c|proceed\n" {
		t.Errorf("got %q, %v", got, err)
	}
	if err := <-done; !errors.Is(err, filter.ErrGone) {
		t.Errorf("the handler was told %v", err)
	}
}

// More lines than the buffers hold come through while nobody answers.
func TestMessageLarge(t *testing.T) {
	f := filter.New()
	f.OnMessage(func(m *filter.Message) { io.Copy(m, m) })
	text := strings.Repeat(strings.Repeat("x", 99)+"\n", 50000)
	if got, _ := filtertest.Start(t, f).Session().Mail("a@b", "c@d", text); got != text {
		t.Errorf("got %d bytes, want %d", len(got), len(text))
	}
}

func TestManySessionsInRandomOrder(t *testing.T) {
	const n = 1000
	f := filter.New()
	var mu sync.Mutex
	var open []*filter.Question
	f.On(filter.RcptTo, func(q *filter.Question) {
		mu.Lock()
		defer mu.Unlock()
		if open = append(open, q); len(open) < n {
			return
		}
		rand.Shuffle(n, func(i, j int) { open[i], open[j] = open[j], open[i] })
		for _, q := range open {
			go q.Answer(filter.Reject(550, q.Arg))
		}
	})
	var in strings.Builder
	in.WriteString(hello)
	var want []string
	for i := range n {
		fmt.Fprintf(&in, "filter|0.7|1.0|smtp-in|rcpt-to|%016x|t|user%d\n", i, i)
		want = append(want, fmt.Sprintf("filter-result|%016x|t|reject|550 user%d", i, i))
	}
	r, w := io.Pipe()
	done := serve(func() *filter.Filter { return f }, pipeOf(in.String(), w, r), w)
	var got []string
	all := make([]byte, 0, 1<<20)
	buf := make([]byte, 1<<16)
	for bytes.Count(all, []byte("filter-result")) < n || !bytes.HasSuffix(all, []byte("\n")) {
		k, err := r.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, buf[:k]...)
	}
	ended <- struct{}{}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(all)) {
		if strings.HasPrefix(line, "filter-result") {
			got = append(got, strings.TrimSpace(line))
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("%d answers, not those that were asked for", len(got))
	}
}

var ended = make(chan struct{}, 1)

// pipeOf gives a reader of text that ends when ended says so.
func pipeOf(text string, _ *io.PipeWriter, _ *io.PipeReader) *io.PipeReader {
	r, w := io.Pipe()
	go func() {
		io.WriteString(w, text)
		<-ended
		w.Close()
	}()
	return r
}

func TestBrokenServers(t *testing.T) {
	f := filter.New()
	f.On(filter.Noop, func(q *filter.Question) { q.Answer(filter.Proceed) })
	for name, input := range map[string]string{
		"few fields":     "filter|0.7|1.0|smtp-in|noop\n",
		"no token":       "filter|0.7|1.0|smtp-in|noop|00000000000000ab\n",
		"report":         "report|0.7|1.0\n",
		"session":        "filter|0.7|1.0|smtp-in|noop|xyz|t|\n",
		"not registered": question("quit", "t", ""),
		"data line":      question("data-line", "t", "x"),
	} {
		if _, err := answers(f, input); err == nil || !strings.Contains(err.Error(), "the server broke the protocol: want ") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err := f.Serve(strings.NewReader("hello\n"), io.Discard); err == nil {
		t.Error("a line that is no configuration went through")
	}
	if err := f.Serve(strings.NewReader("config|protocol|0.7\n"), io.Discard); err == nil || !strings.Contains(err.Error(), "config|ready") {
		t.Errorf("an early end gives %v", err)
	}
	if _, err := answers(f, "news|of|later|versions\n\n"+question("noop", "t", "")); err != nil {
		t.Errorf("an unknown kind of line gives %v", err)
	}
}

func TestMaxLine(t *testing.T) {
	f := filter.New()
	f.On(filter.Noop, func(q *filter.Question) { q.Answer(filter.Proceed) })
	line := strings.TrimSuffix(question("noop", "t", ""), "\n")
	fits := line + strings.Repeat("x", filter.MaxLine-len(line))
	if _, err := answers(f, fits+"\n"); err != nil {
		t.Errorf("%d bytes: %v", len(fits), err)
	}
	for _, end := range []string{"\n", ""} {
		if _, err := answers(f, fits+"x"+end); end != "" && err == nil {
			t.Errorf("%d bytes and %q went through", len(fits)+1, end)
		}
	}
}

func TestWriteErrors(t *testing.T) {
	f := filter.New()
	f.On(filter.Noop, func(q *filter.Question) { q.Answer(filter.Proceed) })
	r, w := io.Pipe()
	r.Close()
	if err := f.Serve(strings.NewReader(hello+strings.Repeat(question("noop", "t", ""), 100000)), w); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v", err)
	}
}

func FuzzServe(f *testing.F) {
	f.Add(question("data-line", "d", "..x") + question("data-line", "d", ".") + question("commit", "c", "1"))
	f.Add("report|0.7|1.0|smtp-in|link-connect|ab|a|b|c|d\nreport|0.7|1.0|smtp-in|link-disconnect|ab\n")
	f.Add("report|0.6|1.0|smtp-in|link-auth|ab|user|pass\nfilter|||||1|2")
	f.Add("report|0.7|1.0|smtp-in|tx-mail|ab|m|ok|x\nreport|0.7|1.0|smtp-in|tx-rcpt|ab|m|ok|x\n" + question("data-line", "d", "x") + "report|0.7|1.0|smtp-in|tx-rollback|ab|m\n")
	f.Fuzz(func(t *testing.T, input string) {
		for _, build := range []func() *filter.Filter{reference, whole} {
			flt := build()
			if strings.Contains(input, "data|") { // the reference wants mail-from before it, as a session has
				flt = whole()
			}
			var out bytes.Buffer
			flt.Serve(strings.NewReader(hello+input), &out)
			for line := range strings.Lines(out.String()) {
				if !strings.HasPrefix(line, "register|") && !strings.HasPrefix(line, "filter-") || !strings.HasSuffix(line, "\n") {
					t.Fatalf("wrote %q", line)
				}
			}
		}
	})
}
