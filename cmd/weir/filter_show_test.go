package main

import (
	"strings"
	"testing"

	"github.com/weirmail/weir/internal/admin"
)

func TestPrintFilterProcess(t *testing.T) {
	var b strings.Builder
	printFilterProcess(&b, admin.FilterProcess{
		PID: 12, UIDs: []string{"5", "5", "5", "5"}, GIDs: []string{"1", "2", "2", "2"}, Groups: []string{"2", "3"},
		Capabilities: noCapabilities, Bounding: "000001ffffffffff", NoNewPrivs: true, Seccomp: true, Landlock: 7,
		Session: 12, Group: 12, Root: "/", Namespaces: []string{"mnt"}, Descriptors: []string{"0 pipe:[1]", "1 pipe:[2]"},
		Limits: map[string]string{"memory": "1024", "core": "0"}, Hidden: []string{"/q", "/k"}, Notes: []string{"a\x1bb"},
	})
	const want = `process 12
    user           5
    group          1 2 2 2
    groups         2 3
    capabilities   none (bounded by 000001ffffffffff)
    new privileges no
    system calls   filtered
    landlock       version 7
    session        its own
    root           /
    /tmp           everybody's
    namespaces     mnt
    limits         core 0, memory 1024
    descriptors    0 pipe:[1], 1 pipe:[2]
    sees           what its user may, but what is hidden
    hidden         /q /k
    not done       a?b
`
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
	b.Reset()
	printFilterProcess(&b, admin.FilterProcess{PID: 1, UIDs: []string{"0"}, GIDs: []string{"0"}, Session: 9, Group: 8, View: true, Read: []string{"/r"}})
	for _, want := range []string{"session        9, group 8\n", "system calls   all\n", "landlock       none\n", "reads          /r\n", "writes         none\n", "new privileges yes\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
}
