package sqlite

import (
	"testing"

	"github.com/weirmail/weir/internal/mailflow/queue"
	"github.com/weirmail/weir/internal/mailflow/queue/storetest"
)

func openTest(t testing.TB, dir string) *Store {
	t.Helper()
	st, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return st
}

func TestConformance(t *testing.T) {
	storetest.Run(t,
		func(t *testing.T) queue.Store { return openTest(t, t.TempDir()) },
		func(t *testing.T, st queue.Store) queue.Store {
			if err := st.Close(); err != nil {
				t.Fatal(err)
			}
			return openTest(t, st.(*Store).dir)
		})
}
