// Package perl tests the Perl SDK from go test: its own unit tests, and the
// bridge as the server runs it.
package perl

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/weirmail/weir/sdk/internal/transcript"
)

const root = "../.."

func bridge(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("perl"); err != nil {
		t.Skip("no perl on this machine: nothing can run the Perl SDK")
	}
	transcript.Reads(t, "filter-perl", "*.pm", "t/*.t", "*/*.pl")
	path, err := filepath.Abs("filter-perl")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestUnits(t *testing.T) {
	bridge(t)
	for _, test := range []string{"t/bridge.t", "t/decide.t"} {
		if out, err := exec.Command("perl", test).CombinedOutput(); err != nil {
			t.Errorf("perl %s: %v\n%s", test, err, out)
		}
	}
}

func TestTranscripts(t *testing.T) {
	program := bridge(t)
	for _, file := range transcript.Files(t, root) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			if log := transcript.Command(t, file, program, "testdata/reference.pl"); log != "" {
				t.Errorf("the filter complains:\n%s", log)
			}
		})
	}
}

// The article's hooks and session give the article's log.
func TestArticle(t *testing.T) {
	log := transcript.Command(t, filepath.Join(root, "protocol/transcripts/article.txt"),
		bridge(t), "example/callbacks.pl")
	const want = `on_connect: 0xa7bc78b6177f09b5 127.0.0.1 127.0.0.1 localhost
on_helo: 0xa7bc78b6177f09b5 myself
on_mail: 0xa7bc78b6177f09b5 gilles@debug.poolp.org
on_rcpt: 0xa7bc78b6177f09b5 gilles@debug.poolp.org
on_data: 0xa7bc78b6177f09b5
on_dataline: 0xa7bc78b6177f09b5 Received: from myself (localhost [127.0.0.1]);
on_dataline: 0xa7bc78b6177f09b5 	by debug.poolp.org (OpenSMTPD) with ESMTP id 2fb4c3b7;
on_dataline: 0xa7bc78b6177f09b5 	for <gilles@debug.poolp.org>;
on_dataline: 0xa7bc78b6177f09b5 	Fri, 12 Dec 2014 15:48:42 +0100 (CET)
on_dataline: 0xa7bc78b6177f09b5 Subject: ohai !
on_dataline: 0xa7bc78b6177f09b5 ` + `
on_dataline: 0xa7bc78b6177f09b5 test
on_eom: 0xa7bc78b6177f09b5 195
on_commit: 0xa7bc78b6177f09b5
on_disconnect: 0xa7bc78b6177f09b5
`
	if log != want {
		t.Errorf("got\n%s\nwant\n%s", log, want)
	}
}
