package sqlite

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/mailflow/queue"
)

// After a crash the rows are counted while mail comes and goes.
func TestCountAfterCrash(t *testing.T) {
	dir, left := t.TempDir(), t.TempDir()
	st := openTest(t, dir)
	for id := range uint32(500) {
		if err := add(st, id+1, 100, false); err != nil {
			t.Fatal(err)
		}
	}
	// What a crash leaves is what the files have in this moment.
	for _, name := range []string{databaseName, databaseName + "-wal"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(left, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	st = openTest(t, left)
	for id := range uint32(20) {
		if err := add(st, id+1001, 100, true); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := st.Admin(t.Context(), queue.OpRemove, []queue.Ref{{Message: 1}, {Message: 1001}}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := done(st, 1002); err != nil {
		t.Fatal(err)
	}
	want := queue.Counts{Messages: 517, Envelopes: 517, Claimed: 18}
	if got, err := st.Count(t.Context()); got != want || err != nil {
		t.Errorf("counts are %+v, %v; want %+v", got, err, want)
	}
}
