package queue

import (
	"bytes"
	"testing"

	"github.com/weirmail/weir/internal/mail"
)

// creating is a Store whose bodies go nowhere.
type creating struct {
	Store
	bodies int
}

func (c *creating) Create(mail.MessageID) (Body, error) { c.bodies++; return nowhere{}, nil }

type nowhere struct{}

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (nowhere) Seal() error                 { return nil }
func (nowhere) Discard()                    {}

// Bodies on their way have so much memory and no more; what is beyond goes to
// the store, and what was taken is given back however they end.
func TestSpoolMemory(t *testing.T) {
	st := &creating{}
	q := &Queue{st: st}
	const room = 2*InlineBody + firstBuffer
	q.spools.give(room)
	var all []*Spool
	spool := func(size int) {
		t.Helper()
		s, err := q.Spool(1)
		if err == nil {
			_, err = s.Write(bytes.Repeat([]byte("x"), size))
		}
		if err != nil || s.Size() != int64(size) {
			t.Fatalf("%d of %d bytes: %v", s.Size(), size, err)
		}
		all = append(all, s)
	}
	spool(InlineBody)
	spool(firstBuffer)
	spool(InlineBody)
	if st.bodies != 0 {
		t.Fatalf("%d bodies in the store while there is room", st.bodies)
	}
	spool(1)
	spool(InlineBody)
	if st.bodies != 2 {
		t.Errorf("%d bodies in the store, want 2 for which there was no room", st.bodies)
	}
	all[1].Write([]byte("x")) // needs the larger buffer
	if st.bodies != 3 {
		t.Errorf("%d bodies in the store; one that grew has no room", st.bodies)
	}
	spool(firstBuffer)
	if st.bodies != 3 {
		t.Error("the memory of a body that went to the store is not free again")
	}
	for _, s := range all {
		s.Discard()
		s.Discard()
	}
	if left := q.spools.left.Load(); left != room {
		t.Errorf("%d bytes left in the end, want %d", left, room)
	}
}
