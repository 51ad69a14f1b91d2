package weirtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/weirmail/weir/internal/admin"
)

// Certificate writes a self-signed certificate for host and its key into dir,
// as cert.pem and key.pem.
func Certificate(t testing.TB, dir, host string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: host},
		DNSNames:     []string{host},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: der},
		"key.pem":  {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// Credentials gives the entries of a table in which each user has that
// password.
func Credentials(t testing.TB, password string, users ...string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	var entries []string
	for _, u := range users {
		entries = append(entries, fmt.Sprintf("%q = %q", u, hash))
	}
	return strings.Join(entries, ", ")
}

// Userbase gives the entries of a userbase table: each user has the rights of
// whoever runs the test, and a home below dir.
func Userbase(dir string, users ...string) string {
	var entries []string
	for _, u := range users {
		entries = append(entries, fmt.Sprintf("%q = \"%d:%d:%s\"", u, os.Getuid(), os.Getgid(), filepath.Join(dir, u)))
	}
	return strings.Join(entries, ", ")
}

// Program gives the path of a program that a test needs. Without it the test
// is left out and says which Debian package has it.
func Program(t testing.TB, name, debian string) string {
	t.Helper()
	for _, dir := range []string{"", "/usr/sbin", "/usr/libexec/opensmtpd", "/usr/lib/opensmtpd"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	t.Skipf("%s is not installed: make deps, or the Debian package %s", name, debian)
	return ""
}

// Mails gives the files of messages that were delivered below dir, a tree of
// maildirs, in the order of their names. What is not delivered yet, in tmp, is
// left out.
func Mails(t testing.TB, dir string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // delivered or removed while we looked
			return nil
		case err != nil:
			return err
		case d.IsDir() && d.Name() == "tmp":
			return filepath.SkipDir
		case !d.IsDir():
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// Drained waits until the server's queue is empty: all that it accepted has
// been delivered.
func (s *Server) Drained(t testing.TB, within time.Duration) {
	t.Helper()
	c, err := admin.Dial(filepath.Join(s.Spool, admin.Socket))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var n admin.Count
	for end := time.Now().Add(within); ; time.Sleep(10 * time.Millisecond) {
		if err := c.Call(t.Context(), admin.MethodQueueCount, nil, &n); err != nil {
			t.Fatal(err)
		}
		if n.Envelopes == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("after %v there are still %d envelopes in the queue", within, n.Envelopes)
		}
	}
}
