package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/queue"
)

// add stores a message with a body of that size. The error is Apply's or
// that of making the body.
func add(st *Store, id uint32, size int, claimed bool) error {
	n := benchMessage(id, bytes.Repeat([]byte("x"), min(size, queue.InlineBody)))
	n.Claimed = claimed
	if size > queue.InlineBody {
		n.Inline = nil
		b, err := st.Create(n.Message.ID)
		if err != nil {
			return err
		}
		defer b.Discard()
		if _, err := b.Write(bytes.Repeat([]byte("x"), size)); err != nil {
			return err
		}
		if err := b.Seal(); err != nil {
			return err
		}
		n.Body = b
	}
	return st.Apply(context.Background(), &queue.Change{Add: []queue.New{n}})
}

func done(st *Store, id uint32) error {
	return st.Apply(context.Background(), &queue.Change{Done: []queue.Claim{{ID: mail.NewEnvelopeID(mail.MessageID(id), 1), Fence: 1}}})
}

func bodyFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, bodyName, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestOneProcess(t *testing.T) {
	dir := t.TempDir()
	st := openTest(t, dir)
	_, err := Open(dir, Options{})
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("another server (process %d) uses it", os.Getpid())) {
		t.Fatalf("error is %v", err)
	}
	if err := add(st, 1, 10, false); err != nil {
		t.Errorf("the first is harmed: %v", err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	openTest(t, dir)
	if err := add(st, 2, 10, false); !errors.Is(err, errClosed) {
		t.Errorf("a closed store: %v", err)
	}
}

func TestPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	st := openTest(t, dir)
	if err := add(st, 1, queue.InlineBody+1, false); err != nil {
		t.Fatal(err)
	}
	for _, path := range append(bodyFiles(t, dir), dir) {
		fi, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, fi.Mode())
		}
	}
}

func TestDamaged(t *testing.T) {
	for name, harm := range map[string]func(f *os.File, size int64) error{
		"header": func(f *os.File, _ int64) error { _, err := f.WriteAt(bytes.Repeat([]byte{0xaa}, 100), 0); return err },
		"pages": func(f *os.File, size int64) error {
			_, err := f.WriteAt(bytes.Repeat([]byte{0xaa}, int(size)-4096), 4096)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			st := openTest(t, dir)
			for i := range 50 {
				if err := add(st, uint32(i+1), 5000, false); err != nil {
					t.Fatal(err)
				}
			}
			if err := st.Close(); err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(filepath.Join(dir, databaseName), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			fi, err := f.Stat()
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(harm(f, fi.Size()), f.Close()); err != nil {
				t.Fatal(err)
			}
			_, err = Open(dir, Options{})
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), ".recover") {
				t.Errorf("error is %v", err)
			}
			// The lock is free again: whoever repairs it can start weir.
			if _, err = Open(dir, Options{}); !errors.Is(err, ErrDamaged) {
				t.Errorf("second error is %v", err)
			}
		})
	}
}

func TestForeignDatabase(t *testing.T) {
	for sql, want := range map[string]string{
		"PRAGMA user_version = 3":                              "another program",
		"PRAGMA application_id = 7":                            "another program",
		"PRAGMA user_version = 99; PRAGMA application_id = %d": "newer version",
	} {
		dir := t.TempDir()
		c, err := openConn(dsn(filepath.Join(dir, databaseName), 100))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(sql, "%d") {
			sql = fmt.Sprintf(sql, applicationID)
		}
		if err := errors.Join(c.exec(sql), c.close()); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v", sql, err)
		}
	}
}

// Bodies that a crash left are removed, those of messages are not.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	st := openTest(t, dir)
	if err := add(st, 1, queue.InlineBody+1, false); err != nil {
		t.Fatal(err)
	}
	left, err := st.Create(2) // never sealed, never named
	if err != nil {
		t.Fatal(err)
	}
	if n := len(bodyFiles(t, dir)); n != 2 {
		t.Fatalf("%d files", n)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	_ = left
	other := filepath.Join(dir, bodyName, "00", "notes.txt")
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	st = openTest(t, dir)
	if err := st.Close(); err != nil { // waits for the sweep, or stops it
		t.Fatal(err)
	}
	st = openTest(t, dir)
	deadline := time.Now().Add(10 * time.Second)
	for len(bodyFiles(t, dir)) != 2 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if files := bodyFiles(t, dir); len(files) != 2 {
		t.Errorf("files: %v", files)
	}
	if _, err := os.Stat(other); err != nil {
		t.Errorf("a file of somebody else: %v", err)
	}
	if err := add(st, 2, queue.InlineBody+1, false); err != nil {
		t.Error(err)
	}
}

// A body is gone with its message.
func TestUnlink(t *testing.T) {
	dir := t.TempDir()
	st := openTest(t, dir)
	if err := add(st, 1, queue.InlineBody+1, true); err != nil {
		t.Fatal(err)
	}
	if err := done(st, 1); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if files := bodyFiles(t, dir); len(files) != 0 {
		t.Errorf("files: %v", files)
	}
}

// A commit that fails may be in the log nevertheless. It must not come back
// after a crash, so something is written over it before anything else counts.
func TestTornCommit(t *testing.T) {
	ctx := context.Background()
	st := openTest(t, t.TempDir())
	if err := add(st, 1, 10, true); err != nil {
		t.Fatal(err)
	}
	var good *stmt
	swap := func(w *writer) error {
		bad, err := w.c.prepare("INSERT INTO message (seq, id) VALUES (NULL, NULL)") // fails, whatever is in the database
		good, w.st.commit = w.st.commit, bad
		return err
	}
	if err := st.submit(ctx, grow, swap); !errors.Is(err, queue.ErrInDoubt) {
		t.Fatalf("error is %v", err)
	}
	writes := func() (n int64) {
		if err := st.read.QueryRow("SELECT value FROM meta WHERE name = 'writes'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := writes()
	if err := add(st, 2, 10, true); !errors.Is(err, queue.ErrInDoubt) {
		t.Errorf("error is %v", err)
	}
	if err := done(st, 1); !errors.Is(err, queue.ErrInDoubt) {
		t.Errorf("error is %v", err)
	}
	restore := func(w *writer) error { w.st.commit = good; return nil }
	if err := st.submit(ctx, grow, restore); err != nil {
		t.Fatal(err)
	}
	if writes() != before+1 {
		t.Error("nothing was written over the torn transaction")
	}
	// The claims are as they were.
	if err := done(st, 1); err != nil {
		t.Error(err)
	}
	if err := add(st, 2, 10, true); err != nil {
		t.Error(err)
	}
	if c, err := st.Count(ctx); err != nil || c != (queue.Counts{Messages: 1, Envelopes: 1, Claimed: 1}) {
		t.Errorf("counts %+v, %v", c, err)
	}
	if writes() != before+1 {
		t.Error("it is written over again and again")
	}
}

// One bad change does not harm those that share its transaction.
func TestBadNeighbour(t *testing.T) {
	st := openTest(t, t.TempDir())
	if err := add(st, 1, 10, false); err != nil {
		t.Fatal(err)
	}
	gate, shut := make(chan struct{}), make(chan struct{})
	blocked := make(chan error)
	go func() { // so that the others gather behind it
		blocked <- st.submit(context.Background(), grow, func(*writer) error { close(shut); <-gate; return nil })
	}()
	<-shut
	errs := make(chan error)
	for i := range 20 {
		id := uint32(100 + i)
		if i == 7 {
			id = 1 // exists
		}
		go func() { errs <- add(st, id, 10, false) }()
	}
	for len(st.w.reqs) < 20 {
		time.Sleep(time.Millisecond)
	}
	close(gate)
	failed := 0
	for range 20 {
		if err := <-errs; err != nil {
			failed++
		}
	}
	if err := <-blocked; err != nil || failed != 1 {
		t.Errorf("%d of 20 failed, want 1; %v", failed, err)
	}
	if c, err := st.Count(context.Background()); err != nil || c.Messages != 20 {
		t.Errorf("counts %+v, %v", c, err)
	}
}
