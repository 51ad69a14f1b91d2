package filter

import (
	"bytes"
	"context"
	"io"
	"runtime"
	"testing"
)

func TestWiden(t *testing.T) {
	b := getBuffer()
	var want []byte
	for len(want) < blockMax {
		line := bytes.Repeat([]byte{byte('a' + len(want)%26)}, 1000)
		want = append(want, line...)
		before := cap(*b)
		if b = widen(b, len(line)); cap(*b)-len(*b) < len(line) {
			t.Fatalf("room for %d bytes at %d", cap(*b)-len(*b), len(*b))
		}
		if before <= lineMax && cap(*b) > lineMax && cap(*b) < spoolMemory {
			t.Fatalf("from %d to %d bytes, which is neither lines nor a block", before, cap(*b))
		}
		*b = append(*b, line...)
	}
	if !bytes.Equal(*b, want) {
		t.Error("what was in it is not in it any more")
	}
	putBuffer(b)
	for size, least := range map[int64]int{lineMax: 0, lineMax + 1: spoolMemory, 1 << 30: spoolMemory} {
		b := getBlock(size)
		if cap(*b) < least || len(*b) != 0 {
			t.Errorf("for %d bytes: %d of %d", size, len(*b), cap(*b))
		}
		putBuffer(b)
	}
}

// TestBuffersUsedAgain: messages of any size, in pieces of any size, go through
// buffers that are there. Garbage of the size of the message cost most of the
// rate of large ones.
func TestBuffersUsedAgain(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector drops some of what pools keep; make gotest runs this without it")
	}
	h, _ := host(t, Options{}, echoFilter(t))
	s := open(h)
	defer s.Close()
	line := append(bytes.Repeat([]byte("x"), 76), '\n')
	for _, c := range []struct{ size, chunk int }{
		{4 << 10, 4 << 10}, {20 << 10, 20 << 10}, {40 << 10, 40 << 10}, {1 << 20, 4 << 10}, {1 << 20, 12 << 10}, {1 << 20, 32 << 10}, {1 << 20, 60 << 10},
	} {
		chunk := bytes.Repeat(line, c.chunk/len(line))
		message := func() {
			m := s.Message(context.Background(), io.Discard)
			for n := 0; n < c.size; n += c.chunk {
				if _, err := m.Write(chunk); err != nil {
					t.Fatal(err)
				}
			}
			if v := m.Finish(context.Background()); v.Err != nil {
				t.Fatal(v.Err)
			}
		}
		const rounds = 50
		for range rounds {
			message()
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range rounds {
			message()
		}
		runtime.ReadMemStats(&after)
		each := (after.TotalAlloc - before.TotalAlloc) / rounds
		if limit := uint64(8<<10 + c.size/4); each > limit {
			t.Errorf("%d bytes in pieces of %d: %d bytes allocated, more than %d", c.size, c.chunk, each, limit)
		}
		t.Logf("%d bytes in pieces of %d: %d bytes allocated", c.size, c.chunk, each)
	}
}
