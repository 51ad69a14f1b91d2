package rehearse

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// debian gives a filter of Debian's packages opensmtpd-filter-*.
func debian(t *testing.T, name string) string {
	t.Helper()
	for _, pattern := range []string{"/usr/libexec/opensmtpd/filter-", "/usr/lib/opensmtpd/filter-", "/usr/lib/*/opensmtpd/filter-"} {
		if found, _ := filepath.Glob(pattern + name); len(found) > 0 {
			return found[0]
		}
	}
	t.Skipf("opensmtpd-filter-%s is not installed", name)
	return ""
}

// Filters of others that are in use are good: what they decide is their own
// affair, and so is that they miss their daemon or the name service here.
func TestOthersFilters(t *testing.T) {
	for name, argv := range map[string]func(t *testing.T) []string{
		"rspamd":      func(*testing.T) []string { return nil },
		"senderscore": func(*testing.T) []string { return nil },
		"dkimsign": func(t *testing.T) []string {
			return []string{"-d", "example.net", "-s", "selector", "-k", rsaKey(t)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			program := debian(t, name)
			r, err := Check(t.Context(), Options{Argv: append(append(noNetwork(t), program), argv(t)...)})
			if err != nil {
				t.Fatal(err)
			}
			if r.Faults() > 0 || r.NotPlayed > 0 {
				t.Error(r.Summary())
			}
			for _, f := range r.Findings {
				t.Log(f)
			}
		})
	}
}

// noNetwork gives the beginning of a command that runs without a network: a
// test asks no name server of the world, and none lets it wait.
func noNetwork(t *testing.T) []string {
	t.Helper()
	argv := []string{"unshare", "--map-root-user", "--net", "--"}
	if out, err := exec.Command(argv[0], append(argv[1:], "true")...).CombinedOutput(); err != nil {
		t.Skipf("no network namespace to run in: %v %s", err, out)
	}
	return argv
}

func rsaKey(t *testing.T) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key.pem")
	write(t, path, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	return path
}

// The filters of the transcripts, and our own, are good and say nothing that
// is worth a remark.
func TestOurFilters(t *testing.T) {
	root := repository(t)
	for name, argv := range map[string][]string{
		"python": {python(t), filepath.Join(root, "sdk/python/filter-python"), filepath.Join(root, "sdk/python/testdata/reference.py")},
		"perl":   {filepath.Join(root, "sdk/perl/filter-perl"), filepath.Join(root, "sdk/perl/testdata/reference.pl")},
		"sh":     {filepath.Join(root, "sdk/sh/refuse.sh")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := Check(t.Context(), Options{Argv: argv})
			if err != nil {
				t.Fatal(err)
			}
			compareOutcome(t, r, "")
			if !strings.Contains(r.Summary(), "no fault, no remark") || r.Questions == 0 {
				t.Error(r.Summary())
			}
		})
	}
}
