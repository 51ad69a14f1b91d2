package sqlite

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/queue"
)

// fill stores messages until there is no room, and gives those that were
// accepted.
func fill(t *testing.T, st *Store, size int, first uint32) []uint32 {
	t.Helper()
	var ids []uint32
	for id := first; id < first+100000; id++ {
		err := add(st, id, size, true)
		if errors.Is(err, queue.ErrNoSpace) {
			return ids
		}
		if err != nil {
			t.Fatalf("after %d messages of %d bytes: %v", len(ids), size, err)
		}
		ids = append(ids, id)
	}
	t.Fatal("it never gets full")
	return nil
}

// checkAll reads all of these messages.
func checkAll(t *testing.T, st *Store, size int, ids []uint32) {
	t.Helper()
	for _, id := range ids {
		r, err := st.Open(context.Background(), mail.MessageID(id))
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		n, err := b.ReadFrom(r)
		r.Close()
		if n != int64(size) || err != nil {
			t.Fatalf("message %08x has %d bytes, want %d: %v", id, n, size, err)
		}
	}
}

func testFull(t *testing.T, dir string, opt Options, sizes ...int) {
	st, err := Open(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() }) // if the test ends early
	first := uint32(1)
	accepted := make(map[int][]uint32)
	for _, size := range sizes {
		accepted[size] = fill(t, st, size, first)
		first += uint32(len(accepted[size])) + 1
		t.Logf("%d messages of %d bytes until full", len(accepted[size]), size)
	}
	for size, ids := range accepted {
		checkAll(t, st, size, ids)
	}
	// What is delivered makes room.
	big := sizes[0]
	for i, id := range accepted[big] {
		if i%2 == 0 {
			if err := done(st, id); err != nil {
				t.Fatalf("recording a delivery on a full disk: %v", err)
			}
		}
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		err := add(st, first+1000000, big, false)
		if err == nil {
			break
		}
		if !errors.Is(err, queue.ErrNoSpace) || time.Now().After(deadline) {
			t.Fatalf("with room again: %v", err)
		}
		time.Sleep(time.Millisecond) // files are unlinked in the background
	}
	if err := st.Close(); err != nil {
		t.Error(err)
	}
	if st, err = Open(dir, opt); err != nil {
		t.Fatal(err)
	}
	for size, ids := range accepted {
		if size == big {
			continue
		}
		checkAll(t, st, size, ids)
	}
	if err := st.Close(); err != nil {
		t.Error(err)
	}
}

// A database that may not grow.
func TestFullDatabase(t *testing.T) {
	testFull(t, t.TempDir(), Options{maxPages: 500}, 5000, 100)
}

// A file system without room: log, shared memory and bodies meet it too.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64m,mode=700"); err != nil {
		t.Skipf("a small file system cannot be mounted (%v); TestFullDatabase does what is possible without", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	testFull(t, dir, Options{}, 1<<20, 5000, 100)
}
