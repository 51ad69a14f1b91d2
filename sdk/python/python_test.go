// Package python tests the Python SDK from go test: its own unit tests, and
// the bridge as the server runs it.
package python

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirmail/weir/sdk/internal/transcript"
)

const root = "../.."

func bridge(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("no python3 on this machine: nothing can run the Python SDK")
	}
	transcript.Reads(t, "filter-python", "*.py", "*/*.py", root+"/filters/callbacks/*.py", "README.md")
	path, err := filepath.Abs("filter-python")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestUnits(t *testing.T) {
	bridge(t)
	transcript.Files(t, root)
	cmd := exec.Command("python3", "-m", "unittest", "-q")
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("python3 -m unittest: %v\n%s", err, out)
	}
}

func TestTranscripts(t *testing.T) {
	program := bridge(t)
	for _, file := range transcript.Files(t, root) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			if log := transcript.Command(t, file, program, "testdata/reference.py"); log != "" {
				t.Errorf("the filter complains:\n%s", log)
			}
		})
	}
}

// The article's script and session give the article's log.
func TestArticle(t *testing.T) {
	log := transcript.Command(t, filepath.Join(root, "protocol/transcripts/article.txt"),
		bridge(t), filepath.Join(root, "filters/callbacks/callbacks.py"))
	want := strings.ReplaceAll(`on_connect: ID 127.0.0.1 127.0.0.1 localhost
on_helo: ID myself
on_mail: ID gilles@debug.poolp.org
on_rcpt: ID gilles@debug.poolp.org
on_data: ID
on_dataline: ID Received: from myself (localhost [127.0.0.1]);
on_dataline: ID 	by debug.poolp.org (OpenSMTPD) with ESMTP id 2fb4c3b7;
on_dataline: ID 	for <gilles@debug.poolp.org>;
on_dataline: ID 	Fri, 12 Dec 2014 15:48:42 +0100 (CET)
on_dataline: ID Subject: ohai !
on_dataline: ID `+`
on_dataline: ID test
on_eom: ID 195
on_commit: ID
on_disconnect: ID
`, "ID", "0xa7bc78b6177f09b5")
	if log != want {
		t.Errorf("got\n%s\nwant\n%s", log, want)
	}
}
