package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestShippedFiles loads the examples, etc/weir.conf also with all that is
// disabled in it.
func TestShippedFiles(t *testing.T) {
	quick, err := Load("../../etc/quickstart.conf", map[string]string{"dir": "/run/x", "user": "me", "home": "/src"})
	if err != nil {
		t.Fatal(err)
	}
	a, l := quick.Matches[0].Action, quick.Listeners[0]
	if a.Path != "/run/x/mail/%{rcpt.user}" || quick.Queue.Path != "/run/x/queue" ||
		quick.Procs[0].Python != "/src/filters/callbacks/callbacks.py" || l.Port != 2525 || l.Filter != "callbacks" {
		t.Errorf("quickstart: %+v, %+v, %+v", a, l, quick.Procs[0])
	}
	if user, _ := a.Virtual.Lookup("@"); user != "me" {
		t.Errorf("quickstart delivers as %q", user)
	}
	if _, err := Load("../../etc/quickstart.conf", nil); err != nil {
		t.Error(err)
	}
	full, err := Load("../../etc/weir.conf", nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../etc/weir.conf")
	if err != nil {
		t.Fatal(err)
	}
	env := memory(map[string]string{"/etc/weir/aliases": "root alice", "/etc/weir/accounts": "alice " + testHash})
	all := regexp.MustCompile(`(?m)^#(\w)`).ReplaceAll(text, []byte("$1"))
	c, err := load(env, "weir.conf", all, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Listeners) <= len(full.Listeners) || len(c.Matches) <= len(full.Matches) || len(c.PKI) != 1 {
		t.Error("nothing was enabled")
	}
}

// TestManualExamples loads what the manual shows.
func TestManualExamples(t *testing.T) {
	page, err := os.ReadFile("../../docs/man/weir.conf.5")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile(`(?ms)^\.Bd -literal[^\n]*\n(.*?)^\.Ed$`).FindAllSubmatch(page, -1)
	if len(blocks) < 5 {
		t.Fatalf("%d examples", len(blocks))
	}
	for i, b := range blocks {
		text := strings.NewReplacer(`\e`, `\`, `\&`, ``, `\-`, `-`).Replace(string(b[1]))
		env := memory(map[string]string{
			"/etc/weir/aliases": "root alice", "/etc/weir/accounts": "alice " + testHash,
			"/etc/weir/users": "joe 1000:1000:/home/joe", "/etc/weir/domains": "example.org",
			"/etc/weir/virtual": "@example.org joe", "/etc/weir/local.conf": "",
		})
		if _, err := load(env, fmt.Sprintf("example %d", i+1), []byte(text+anyMatch), nil); err != nil {
			t.Errorf("%s\n%v", text, err)
		}
	}
}

// TestManualIsComplete looks for every word of the grammar in the manual.
func TestManualIsComplete(t *testing.T) {
	page, err := os.ReadFile("../../docs/man/weir.conf.5")
	if err != nil {
		t.Fatal(err)
	}
	words := slices.Concat(directivesNotYet, listenNotYet, localNotYet, relayNotYet, procNotYet, formatModifiers,
		sortedKeys(directives), sortedKeys(listenOptions), sortedKeys(socketOptions), sortedKeys(procOptions),
		sortedKeys(phases), sortedKeys(decisions), sortedKeys(whenConditions), sortedKeys(matchConditions),
		sortedKeys(forConditions), sortedKeys(fromConditions), sortedKeys(methods), sortedKeys(localOptions),
		sortedKeys(relayOptions), sortedKeys(pkiOptions), sortedKeys(queueOptions), sortedKeys(smtpOptions), sortedKeys(limits), sortedKeys(sandboxLimits))
	have := map[string]bool{}
	for _, w := range regexp.MustCompile(`[\w-]+`).FindAllString(string(page), -1) {
		have[w] = true
	}
	for _, w := range words {
		if w != "masquerade" && !have[w] { // a part of senders
			t.Errorf("%q is not in the manual", w)
		}
	}
}

func TestGoldenConfigs(t *testing.T) {
	fill := strings.NewReplacer("@CREDS@", `"u" = "`+testHash+`"`, "@RUN@", "/run", "@PYTHON@", "python3", "@TOOLS@", "/tools", "@MODE@", "x")
	for name, want := range map[string]string{
		"main.conf":  "9 tables 1 procs 3 filters 7 actions 2 matches 2",
		"small.conf": "3 tables 0 procs 1 filters 1 actions 1 matches 1",
		"bad.conf":   "3 tables 0 procs 1 filters 1 actions 2 matches 2",
	} {
		text, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		c, err := load(memory(nil), name, []byte(fill.Replace(string(text))), nil)
		if err != nil {
			t.Error(err)
			continue
		}
		if got := fmt.Sprintf("%d tables %d procs %d filters %d actions %d matches %d", len(c.Listeners), len(c.Tables),
			len(c.Procs), len(c.Filters), len(c.Actions), len(c.Matches)); got != want {
			t.Errorf("%s: listeners %s, want %s", name, got, want)
		}
	}
}

func TestCertificates(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", "b"} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}}
		cert, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		for file, block := range map[string]*pem.Block{
			name + ".crt": {Type: "CERTIFICATE", Bytes: cert},
			name + ".key": {Type: "PRIVATE KEY", Bytes: der},
		} {
			if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	load := func(cert, key string) error {
		_, err := LoadBytes("weir.conf", []byte(fmt.Sprintf("pki x cert %q key %q\nlisten on lo tls pki x",
			filepath.Join(dir, cert), filepath.Join(dir, key))+anyMatch), nil)
		return err
	}
	if err := load("a.crt", "a.key"); err != nil {
		t.Error(err)
	}
	for pair, want := range map[[2]string]string{
		{"a.crt", "b.key"}: "private key does not match public key",
		{"a.crt", "none"}:  "no such file",
		{"a.key", "a.key"}: "failed to find certificate",
	} {
		if err := load(pair[0], pair[1]); err == nil || !strings.HasPrefix(err.Error(), `weir.conf:1:5: pki "x": `) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", pair, err)
		}
	}
}
