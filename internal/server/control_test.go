package server

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/admin"
)

// list collects the items that a method gives.
func list[T any](t *testing.T, c *admin.Client, method string, args any) (all []T) {
	t.Helper()
	if err := admin.Each(t.Context(), c, method, args, func(v T) error { all = append(all, v); return nil }); err != nil {
		t.Fatalf("%s: %v", method, err)
	}
	return all
}

func call[T any](t *testing.T, c *admin.Client, method string, args any) (v T) {
	t.Helper()
	if err := c.Call(t.Context(), method, args, &v); err != nil {
		t.Fatalf("%s: %v", method, err)
	}
	return v
}

// TestControlQueue: list, count, show, retry and remove with mail that cannot
// be delivered for now.
func TestControlQueue(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, boxes(dir)+`
listen on 127.0.0.1 port 0 tag in
action "later" mda "cat >/dev/null; test -f @DIR@/go || exit 75" userbase <users>
match from any for domain "later.test" action "later"
`, Options{})
	c := s.control(t)
	if n := call[admin.Count](t, c, admin.MethodQueueCount, nil); n != (admin.Count{}) {
		t.Errorf("an empty queue counts %+v", n)
	}
	if items := list[admin.Envelope](t, c, admin.MethodQueueList, nil); len(items) != 0 {
		t.Errorf("an empty queue lists %+v", items)
	}
	for i := range 3 {
		send(t, s.addr(t, "in"), "alice@example.test", "bob@later.test", fmt.Sprintf("number %d", i))
	}
	var items []admin.Envelope
	eventually(t, "each was tried once", func() error {
		items = list[admin.Envelope](t, c, admin.MethodQueueList, admin.Selection{})
		for _, e := range items {
			if e.Attempts != 1 || e.State != "waiting" {
				return fmt.Errorf("%+v", e)
			}
		}
		return nil
	})
	if len(items) != 3 {
		t.Fatalf("%d items", len(items))
	}
	e := items[1]
	if e.Sender != "alice@example.test" || e.Rcpt != "bob@later.test" || e.Action != "later" || !strings.HasPrefix(e.ID, e.Message) ||
		e.Size == 0 || !e.Next.After(e.Received) || !e.Expires.After(e.Next) || !strings.Contains(e.LastErr, "75") {
		t.Errorf("envelope %+v", e)
	}
	if n := call[admin.Count](t, c, admin.MethodQueueCount, nil); n != (admin.Count{Messages: 3, Envelopes: 3}) {
		t.Errorf("count %+v", n)
	}
	if one := list[admin.Envelope](t, c, admin.MethodQueueList, admin.Selection{IDs: []string{e.ID}}); !reflect.DeepEqual(one, []admin.Envelope{e}) {
		t.Errorf("list of one: %+v", one)
	}

	shown := list[admin.Message](t, c, admin.MethodQueueShow, admin.Selection{IDs: []string{e.Message}})
	if len(shown) != 1 || shown[0].ID != e.Message || len(shown[0].Envelopes) != 1 || shown[0].Helo != "client.example.net" || shown[0].Tag != "in" ||
		!strings.HasPrefix(shown[0].Header, "Received: ") || !strings.HasSuffix(shown[0].Header, "Message-ID: <x@example.net>\n") {
		t.Errorf("show: %+v", shown)
	}

	changed := call[admin.Changed](t, c, admin.MethodQueueRemove, admin.Selection{IDs: []string{items[0].ID, "0123456789abcdef"}})
	if changed.Envelopes != 1 || len(changed.Unknown) != 1 || !strings.Contains(changed.Unknown[0], "0123456789abcdef") {
		t.Errorf("remove: %+v", changed)
	}
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if changed := call[admin.Changed](t, c, admin.MethodQueueRetry, admin.Selection{IDs: []string{e.Message}}); changed.Envelopes != 1 {
		t.Errorf("retry: %+v", changed)
	}
	eventually(t, "one is left", func() error {
		if n := call[admin.Count](t, c, admin.MethodQueueCount, nil); n.Envelopes != 1 {
			return fmt.Errorf("%+v", n)
		}
		return nil
	})
	if changed := call[admin.Changed](t, c, admin.MethodQueueRemove, admin.Selection{All: true}); changed.Envelopes != 1 {
		t.Errorf("remove all: %+v", changed)
	}
	if n := call[admin.Count](t, c, admin.MethodQueueCount, nil); n != (admin.Count{}) {
		t.Errorf("in the end: %+v", n)
	}
}

// TestControlMistakes: calls that make no sense are answered with a sentence.
func TestControlMistakes(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, boxes(dir), Options{})
	c := s.control(t)
	for _, tt := range []struct {
		method string
		args   any
		want   string
	}{
		{admin.MethodQueueShow, admin.Selection{All: true}, "name the messages"},
		{admin.MethodQueueShow, admin.Selection{IDs: []string{"01234567"}}, "01234567"},
		{admin.MethodQueueRemove, admin.Selection{}, "no id given"},
		{admin.MethodQueueRetry, admin.Selection{}, "no id given"},
		{admin.MethodQueueRemove, admin.Selection{IDs: []string{"xyz"}}, "is no id of the queue"},
		{"no.such", nil, "no.such"},
	} {
		err := c.Call(t.Context(), tt.method, tt.args, nil)
		if !errors.As(err, new(admin.Error)) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %+v: %v, want %q", tt.method, tt.args, err, tt.want)
		}
	}
}

// TestFilterGreeting: a filter is told name and version of the server, as
// protocol/FILTER.md has it.
func TestFilterGreeting(t *testing.T) {
	dir := t.TempDir()
	f := filepath.Join(dir, "greeted.sh")
	if err := os.WriteFile(f, []byte("#!/bin/sh\nread -r line\necho \"$line\" >&2\necho 'register|ready'\ncat >/dev/null\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for version, want := range map[string]string{"1.2": "config|smtpd-version|weir 1.2", "": "config|smtpd-version|weir"} {
		s := start(t, dir, fmt.Sprintf("filter greeted proc-exec %q\n", f)+boxes(dir), Options{Version: version})
		line := fmt.Sprintf("msg=%q filter=greeted", want)
		if version == "" { // without a blank the log needs no quotes
			line = "msg=" + want + " filter=greeted"
		}
		for end := time.Now().Add(limit); !strings.Contains(s.log.String(), line); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("version %q: the log has no %s", version, line)
			}
		}
		s.end(t)
	}
}

// TestControlFilters: what runs, and who is asked when.
func TestControlFilters(t *testing.T) {
	dir := t.TempDir()
	f := script(t, dir, "echo.sh", echo, "mail-from", "commit")
	s := start(t, dir, fmt.Sprintf(`
filter echo proc-exec %q
filter gate phase mail-from match mail-from { "bad@example.net" } reject "550 no"
filter both chain { gate, echo }
listen on 127.0.0.1 port 0 tag in filter both
listen on 127.0.0.1 port 0 tag bare
`, f)+boxes(dir), Options{Version: "1.2"})
	c := s.control(t)
	if v := call[admin.Version](t, c, admin.MethodVersion, nil); v.Version != "1.2" || v.PID != os.Getpid() || v.Config != "weir.conf" || v.Started.IsZero() {
		t.Errorf("version %+v", v)
	}
	filters := list[admin.Filter](t, c, admin.MethodFilterList, nil)
	var kinds []string
	for _, f := range filters {
		kinds = append(kinds, f.Name+" "+f.Kind)
	}
	if want := []string{"echo proc", "gate builtin", "both chain"}; !slices.Equal(kinds, want) {
		t.Fatalf("filters %q, want %q", kinds, want)
	}
	if p := filters[0]; p.State != "ready" || !slices.Equal(p.PIDs, s.pids()) || p.Detail != f {
		t.Errorf("process %+v", p)
	}
	if p := filters[0]; !slices.Equal(p.Phases, []string{"mail-from", "commit"}) {
		t.Errorf("the process is asked at %q and told of %q", p.Phases, p.Reports)
	}
	if b := filters[1]; !strings.HasPrefix(b.Detail, "phase mail-from match mail-from ") || !strings.HasSuffix(b.Detail, ` reject "550 no"`) {
		t.Errorf("builtin %+v", b)
	}
	if filters[2].Detail != "gate, echo" {
		t.Errorf("chain %+v", filters[2])
	}
	for _, o := range list[admin.Order](t, c, admin.MethodFilterOrder, nil) {
		var got []string
		for _, p := range o.Phases {
			for _, step := range p.Filters {
				got = append(got, p.Phase+" "+step.Filter)
			}
		}
		want := []string{}
		if o.Tag == "in" {
			want = []string{"mail-from gate", "mail-from echo", "commit echo"}
		}
		if !slices.Equal(got, want) {
			t.Errorf("listener %q (%s): %q, want %q", o.Tag, o.Listener, got, want)
		}
	}
}
