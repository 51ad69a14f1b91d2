package storetest

import (
	"testing"

	"github.com/weirmail/weir/internal/mailflow/queue"
)

func TestMemory(t *testing.T) {
	Run(t,
		func(*testing.T) queue.Store { return new(Memory) },
		func(t *testing.T, st queue.Store) queue.Store {
			if err := st.Close(); err != nil {
				t.Fatal(err)
			}
			return st
		})
}
