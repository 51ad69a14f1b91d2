package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/admin"
	"github.com/weirmail/weir/internal/server"
)

// run runs a command as main would and gives its output and its error.
func run(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	root := newRoot()
	var out bytes.Buffer
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(args)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

// code gives the exit code of an error.
func code(err error) int {
	var e *exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return e.code
	}
	return exitFailure
}

// smtpServer answers on the SMTP socket of a directory: the first reply of
// answers whose key begins the command, else 250. It gives the directory, and
// afterwards what it was sent.
func smtpServer(t *testing.T, answers map[string]string) (dir string, sent func() string) {
	t.Helper()
	dir = t.TempDir()
	ln, err := net.Listen("unix", filepath.Join(dir, server.SMTPSocket))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	got := make(chan string, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			got <- err.Error()
			return
		}
		defer c.Close()
		got <- answer(c, answers)
	}()
	return dir, func() string {
		select {
		case s := <-got:
			return s
		case <-time.After(10 * time.Second):
			t.Fatal("the client never ended")
			return ""
		}
	}
}

func answer(c net.Conn, answers map[string]string) string {
	var log strings.Builder
	reply := func(to, otherwise string) bool {
		for prefix, a := range answers {
			if strings.HasPrefix(to, prefix) {
				otherwise = a
			}
		}
		if otherwise == "" {
			return false
		}
		fmt.Fprintf(c, "%s\r\n", strings.ReplaceAll(otherwise, "\n", "\r\n"))
		return true
	}
	if !reply("banner", "220 test") {
		return ""
	}
	in, data := bufio.NewReader(c), false
	for {
		line, err := in.ReadString('\n')
		log.WriteString(strings.ReplaceAll(line, "\r\n", "\n"))
		switch {
		case err != nil || line == "QUIT\r\n":
			return log.String()
		case data && line != ".\r\n":
			continue
		}
		otherwise := "250 ok"
		if line == "DATA\r\n" {
			otherwise = "354 go"
		}
		data = line == "DATA\r\n"
		if !reply(line, otherwise) {
			return log.String()
		}
	}
}

func TestSend(t *testing.T) {
	dir, sent := smtpServer(t, map[string]string{"EHLO": "250-test\n250-SMTPUTF8\n250 SIZE"})
	out, err := run(t, "Date: d\nFrom: f\nSubject: s\n\n.dot\n.\n", "send", "-q", dir, "-f", "me@x", "a@y", "b@y")
	if err != nil || out != "" {
		t.Fatal(out, err)
	}
	want := "EHLO localhost\nMAIL FROM:<me@x>  \nRCPT TO:<a@y> \nRCPT TO:<b@y> \nDATA\n" +
		"Date: d\nFrom: f\nSubject: s\n\n..dot\n..\n.\nQUIT\n"
	if got := sent(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestSendParameters(t *testing.T) {
	dir, sent := smtpServer(t, map[string]string{"EHLO": "250-test\n250-SMTPUTF8\n250 SIZE"})
	_, err := run(t, "Date: d\nFrom: Me <from@x>\nTo: a@y\nBcc: \u00fc@y\n\n", "sendmail", "-Q", dir, "-t", "-N", "never", "-R", "hdrs", "-V", "id")
	if err == nil {
		t.Fatal("-Q is no option of sendmail")
	}
	_, err = run(t, "Date: d\nFrom: Me <from@x>\nTo: a@y\nBcc: \u00fc@y\n\n", "send", "-q", dir, "-t", "-N", "never", "-R", "hdrs", "-V", "id")
	if err != nil {
		t.Fatal(err)
	}
	want := "EHLO localhost\nMAIL FROM:<from@x> RET=hdrs ENVID=id BODY=8BITMIME SMTPUTF8\nRCPT TO:<a@y> NOTIFY=never\nRCPT TO:<\u00fc@y> NOTIFY=never\nDATA\n" +
		"Date: d\nFrom: Me <from@x>\nTo: a@y\n\n.\nQUIT\n"
	if got := sent(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestSendRefused(t *testing.T) {
	for _, c := range []struct {
		at, reply string
		code      int
		text      string
	}{
		{"banner", "554 no", exitUnavailable, "554 no"},
		{"banner", "421 later", exitTempFail, "421 later"},
		{"EHLO", "550-one\n550 two", exitUnavailable, "550 two"},
		{"MAIL", "451 4.7.1 later", exitTempFail, "451 4.7.1 later"},
		{"RCPT", "550 Invalid recipient: <a@y>", exitNoUser, "550 Invalid recipient: <a@y>"},
		{"RCPT", "450 later", exitTempFail, "450 later"},
		{"DATA", "503 no", exitUnavailable, "503 no"},
		{".", "554 5.7.1 spam", exitUnavailable, "554 5.7.1 spam"},
		{".", "", exitTempFail, "after .: the server closed the connection"},
		{"DATA", "", exitTempFail, "after DATA: the server closed the connection"},
		{"banner", "", exitTempFail, "after connecting: the server closed the connection"},
		{"MAIL", "hello", exitSoftware, `the server's reply is not understood: "hello"`},
		{"QUIT", "500 too late", 0, ""},
	} {
		t.Run(c.at+" "+c.reply, func(t *testing.T) {
			dir, _ := smtpServer(t, map[string]string{c.at: c.reply})
			_, err := run(t, "Subject: s\n\nx\n", "send", "-q", dir, "a@y")
			if code(err) != c.code || err != nil && err.Error() != c.text {
				t.Errorf("exit code %d, %v", code(err), err)
			}
		})
	}
}

func TestSendUsage(t *testing.T) {
	dir, _ := smtpServer(t, nil)
	for _, c := range []struct {
		stdin string
		args  []string
		code  int
		text  string
	}{
		{"\n", []string{"send", "-q", dir}, exitUsage, "no recipients"},
		{"To:\n\n", []string{"send", "-q", dir, "-t"}, exitUsage, "no recipients"},
		{"To: a b\n\n", []string{"send", "-q", dir, "-t"}, exitDataErr, "header field To: there is a blank"},
		{"\n", []string{"send", "-q", dir, "a>b"}, exitDataErr, "a > without a <"},
		{"\n", []string{"send", "-q", dir, "-f", "a\nb", "c"}, exitDataErr, "no address can have"},
		{"\n", []string{"send", "--nonsense"}, exitUsage, "see: weir send --help"},
		{"\n", []string{"send", "-q", "/nonexistent", "a"}, exitTempFail, "no server is running (/nonexistent/smtp.sock: no such file); start it with: weir run -c /etc/weir/weir.conf"},
		{"", []string{"queue", "list", "-q", "/nonexistent"}, exitTempFail, "no server is running (/nonexistent/control.sock: no such file); start it with: weir run -c /etc/weir/weir.conf"},
		{"", []string{"queue", "show"}, exitUsage, "requires at least 1 arg"},
		{"", []string{"queue", "remove", "xyz"}, exitUsage, `"xyz" is no id of the queue`},
		{"", []string{"queue", "burn"}, exitUsage, `weir queue has no command "burn"`},
		{"", []string{"reload", "-q", "/nonexistent"}, exitTempFail, "the queue path was changed"},
		{"", []string{"reload", "-c", "/nonexistent"}, exitConfig, "nothing has changed: where is the server? stat /nonexistent"},
		{"", []string{"burn"}, exitUsage, `unknown command "burn"`},
		{"", []string{"run", "-D", "x"}, exitUsage, "expected name=value"},
		{"", []string{"check", "-c", "/nonexistent"}, exitConfig, "/nonexistent"},
	} {
		_, err := run(t, c.stdin, c.args...)
		if code(err) != c.code || !strings.Contains(fmt.Sprint(err), c.text) {
			t.Errorf("weir %q: exit code %d, %v", c.args, code(err), err)
		}
	}
}

// adminServer answers the calls of commands with one of everything.
func adminServer(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	ln, err := admin.Listen(filepath.Join(dir, admin.Socket))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	env := admin.Envelope{
		ID: "0d5deb10ae58decf", Message: "0d5deb10", Sender: "s@x", Rcpt: "r@y", Dest: "\x1b[1m@z", Action: "out", Size: 4200,
		Received: now.Add(-90 * time.Minute), Next: now.Add(10*time.Minute + time.Second), State: "waiting", Attempts: 2, LastErr: "451 \x1b]0;later",
	}
	m := admin.NewMux(slog.New(slog.DiscardHandler))
	m.Handle(admin.MethodQueueList, admin.Stream(func(_ context.Context, s admin.Selection, yield func(admin.Envelope) error) error {
		if len(s.IDs) > 0 {
			return nil
		}
		return yield(env)
	}))
	m.Handle(admin.MethodQueueCount, admin.Func(func(context.Context, struct{}) (admin.Count, error) {
		return admin.Count{Messages: 1, Envelopes: 2, Held: 1}, nil
	}))
	m.Handle(admin.MethodQueueShow, admin.Stream(func(_ context.Context, _ admin.Selection, yield func(admin.Message) error) error {
		return yield(admin.Message{ID: "0d5deb10", Sender: "s@x", Size: 5, Received: now, Source: "192.0.2.1", Helo: "h", Session: "00000000000000aa",
			AuthUser: "u", Tag: "T", Header: "Subject: x\n\ty\n", Envelopes: []admin.Envelope{env}})
	}))
	change := admin.Func(func(_ context.Context, s admin.Selection) (admin.Changed, error) {
		if s.All {
			return admin.Changed{Envelopes: 7}, nil
		}
		return admin.Changed{Envelopes: 1, Unknown: s.IDs[1:]}, nil
	})
	m.Handle(admin.MethodQueueRemove, change)
	m.Handle(admin.MethodQueueRetry, change)
	m.Handle(admin.MethodQueueRelease, change)
	m.Handle(admin.MethodReload, admin.Func(func(context.Context, struct{}) (admin.Reloaded, error) {
		return admin.Reloaded{Config: "/c", FiltersKept: 1, FiltersEnding: 2, ListenersOpened: 3}, nil
	}))
	for method, answer := range map[string]error{
		admin.MethodFilterRestart: errors.New("filter rec: the new process is not ready: exit status 1"),
		admin.MethodFilterPause:   nil, admin.MethodFilterResume: nil,
	} {
		m.Handle(method, admin.Func(func(context.Context, admin.Name) (struct{}, error) { return struct{}{}, answer }))
	}
	m.Handle(admin.MethodFilterList, admin.Stream(func(_ context.Context, _ struct{}, yield func(admin.Filter) error) error {
		if err := yield(admin.Filter{Name: "rec", Kind: "proc", Detail: "rec -x", State: "ready", PIDs: []int{10, 11}, Restarts: 1, Phases: []string{"connect", "commit"},
			Load: &admin.Load{Uptime: 2 * time.Hour, Questions: 9, Decisions: map[string]uint64{"reject": 2, "proceed": 7}, P50: 56789, P99: 1234567}}); err != nil {
			return err
		}
		return yield(admin.Filter{Name: "all", Kind: "chain", Detail: "a, rec"})
	}))
	m.Handle(admin.MethodFilterOrder, admin.Stream(func(_ context.Context, _ struct{}, yield func(admin.Order) error) error {
		if err := yield(admin.Order{Listener: "127.0.0.1:25", Filter: "all", Tag: "IN", Phases: []admin.Phase{{Phase: "rcpt-to", Filters: []admin.Step{{Filter: "a", When: "!auth"}, {Filter: "rec"}}}}}); err != nil {
			return err
		}
		return yield(admin.Order{Listener: "smtp.sock"})
	}))
	m.Handle(admin.MethodVersion, admin.Func(func(context.Context, struct{}) (admin.Version, error) {
		return admin.Version{Version: "1.2", Go: "go1", PID: 12, Started: now, Config: "/c"}, nil
	}))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- admin.ServeListener(ctx, ln, m) }()
	t.Cleanup(func() { cancel(); <-done })
	return dir
}

func TestListings(t *testing.T) {
	dir := adminServer(t)
	const envelope = "0d5deb10ae58decf waiting   4.1K   1h old, 2 tried, next in 10m <s@x> -> <r@y> as <?[1m@z>: 451 ?]0;later\n"
	for _, c := range []struct {
		args string
		want string
		code int
	}{
		{"queue list", envelope, 0},
		{"queue list all", envelope, 0},
		{"queue list 0d5deb10", "no such envelope in the queue\n", 0},
		{"queue count", "1 message, 2 envelopes, of which 0 under delivery and 1 held\n", 0},
		{"queue count --json", `{"messages":1,"envelopes":2,"active":0,"held":1}` + "\n", 0},
		{"queue show 0d5deb10", "message 0d5deb10 from <s@x>, 5 bytes, 0s old\nreceived from 192.0.2.1 (h) in session 00000000000000aa, authenticated as u, listener tagged T\n" +
			envelope + "    Subject: x\n        y\n", 0},
		{"queue remove all", "7 envelopes removed\n", 0},
		{"queue retry 0d5deb10 0d5deb11", "1 envelope scheduled\n", exitFailure},
		{"queue release all", "7 envelopes released\n", 0},
		{"reload", "/c is in force\nfilters: 1 kept, 0 started, 2 ending\nlisteners: 0 kept, 3 opened, 0 closed\n", 0},
		{"filter pause rec", "rec paused\n", 0},
		{"filter resume rec", "rec resumed\n", 0},
		{"filter restart rec", "", exitFailure},
		{"filter pause", "", exitUsage},
		{"filter list", "rec              proc     ready, process 10 11, up 2h, restarted 1 time\n    rec -x\n    asked at connect commit\n    asked 9 times: proceed 7, reject 2; half within 57µs, 99 of 100 within 1.2ms\nall              chain   \n    a, rec\n", 0},
		{"filter order", "127.0.0.1:25 tag IN: filter all\n    rcpt-to    a (when !auth), rec\nsmtp.sock: no filter\n", 0},
		{"filter order --json", `{"listener":"127.0.0.1:25","tag":"IN","filter":"all","phases":[{"phase":"rcpt-to","filters":[{"filter":"a","when":"!auth"},{"filter":"rec"}]}]}` + "\n" +
			`{"listener":"smtp.sock","phases":null}` + "\n", 0},
	} {
		out, err := run(t, "", append(strings.Fields(c.args), "-q", dir)...)
		if out != c.want || code(err) != c.code {
			t.Errorf("weir %s:\n%q (%v), want\n%q", c.args, out, err, c.want)
		}
	}
	out, err := run(t, "", "version", "-q", dir)
	if err != nil || !strings.Contains(out, "server: weir 1.2 (go1), process 12, since ") {
		t.Errorf("weir version: %q, %v", out, err)
	}
	if out, err := run(t, "", "version", "-q", "/nonexistent"); err != nil || strings.Count(out, "\n") != 1 {
		t.Errorf("weir version without a server: %q, %v", out, err)
	}
}

// TestBrokenConfiguration: a server is found by what its configuration says of
// the queue, whatever else is wrong with that; it is what tells of the faults.
func TestBrokenConfiguration(t *testing.T) {
	dir := adminServer(t)
	ln, err := net.Listen("unix", filepath.Join(dir, server.SMTPSocket))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	conf := filepath.Join(t.TempDir(), "weir.conf")
	for _, text := range []string{"nonsense\nqueue path %q\n", "queue path %q\nqueue path no\nmatch {\n", "d = %q\ntable t file:/nonexistent\nqueue path $d\n"} {
		if err := os.WriteFile(conf, fmt.Appendf(nil, text, dir), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, command := range []string{"filter pause rec", "reload", "queue count"} {
			if out, err := run(t, "", append(strings.Fields(command), "-c", conf)...); err != nil {
				t.Errorf("%q: weir %s: %q, %v", text, command, out, err)
			}
		}
	}
	if err := os.WriteFile(conf, []byte("nonsense\nqueue path /nonexistent\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := run(t, "", "filter", "list", "-c", conf); code(err) != exitConfig || !strings.Contains(err.Error(), conf+":1:1: ") {
		t.Errorf("no server: %d, %v", code(err), err)
	}
}

func TestNewaliases(t *testing.T) {
	for _, args := range [][]string{{"newaliases"}, {"sendmail", "-bi"}, {"newaliases", "x"}} {
		if out, err := run(t, "", args...); err != nil || !strings.HasPrefix(out, "nothing to do") {
			t.Errorf("%q: %q, %v", args, out, err)
		}
	}
}

func TestUnits(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 0: "0s", 59 * time.Second: "59s", time.Minute: "1m", 59 * time.Minute: "59m",
		time.Hour: "1h", 47 * time.Hour: "47h", 48 * time.Hour: "2d",
	} {
		if got := span(d); got != want {
			t.Errorf("span(%v) = %s, want %s", d, got, want)
		}
	}
	for n, want := range map[int64]string{
		0: "0", 999: "999", 1000: "1.0K", 4200: "4.1K", 10188: "9.9K", 10189: "10K", 36700160: "35M", 1 << 62: "4.0E",
	} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %s, want %s", n, got, want)
		}
	}
}

// TestHelp holds each command to a help text with an example.
func TestHelp(t *testing.T) {
	root := newRoot()
	if root.Example == "" {
		t.Error("weir has no example")
	}
	for _, c := range root.Commands() {
		for _, c := range append(c.Commands(), c) {
			if c.Short == "" || c.Example == "" {
				t.Errorf("%s: short text %q, example %q", c.CommandPath(), c.Short, c.Example)
			}
		}
	}
}

// A user that the server cannot become is told by check as by run.
func TestCheckQueueUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: a server of another user becomes nobody")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "weir.conf")
	for user, want := range map[string]string{
		"no-such-user": `:2:12: queue user "no-such-user": no such user`,
		"root":         "",
	} {
		conf := fmt.Sprintf("queue path %q\nqueue user %q\nmatch for local reject\n", dir+"/queue", user)
		if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
			t.Fatal(err)
		}
		commands := []string{"check"}
		if want != "" {
			commands = append(commands, "run")
		}
		for _, command := range commands {
			_, err := run(t, "", command, "-c", file)
			switch {
			case want == "" && err != nil:
				t.Errorf("weir %s, user %s: %v", command, user, err)
			case want != "" && (code(err) != exitConfig || err.Error() != file+want):
				t.Errorf("weir %s: exit code %d, %v", command, code(err), err)
			}
		}
	}
}
