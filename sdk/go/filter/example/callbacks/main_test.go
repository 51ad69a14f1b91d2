package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/weirmail/weir/sdk/internal/transcript"
)

// The test binary is the filter, too: started with this variable set.
const role = "FILTER_TEST_CALLBACKS"

func TestMain(m *testing.M) {
	if os.Getenv(role) != "" {
		main()
	}
	os.Exit(m.Run())
}

func TestArticle(t *testing.T) {
	env, err := exec.LookPath("env")
	if err != nil {
		t.Fatal(err)
	}
	log := transcript.Command(t, "../../../../../protocol/transcripts/article.txt", env, role+"=1", os.Args[0])
	const want = `connect: ID 127.0.0.1 127.0.0.1 localhost
ehlo: ID myself
mail-from: ID gilles
rcpt-to: ID gilles
data: ID` + " " + `
line: ID Received: from myself (localhost [127.0.0.1]);
line: ID 	by debug.poolp.org (OpenSMTPD) with ESMTP id 2fb4c3b7;
line: ID 	for <gilles@debug.poolp.org>;
line: ID 	Fri, 12 Dec 2014 15:48:42 +0100 (CET)
line: ID Subject: ohai !
line: ID` + " " + `
line: ID test
commit: ID` + " " + `
tx-commit: ID 2fb4c3b7
link-disconnect: ID` + " " + `
`
	if want := strings.ReplaceAll(want, "ID", "a7bc78b6177f09b5"); log != want {
		t.Errorf("got\n%s\nwant\n%s", log, want)
	}
}
