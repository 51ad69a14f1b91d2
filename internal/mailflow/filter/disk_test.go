package filter

import (
	"bytes"
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRoom(t *testing.T) {
	for _, tt := range []struct {
		blocks, free uint64 // of 1 MB
		want         error
	}{
		{10000, 9000, nil}, {10000, 256, nil}, {10000, 255, errDisk}, {10000, 0, errDisk},
		{100, 5, nil}, {100, 4, errDisk}, // a twentieth
		{0, 0, nil}, // without bound
	} {
		if err := room(&unix.Statfs_t{Bsize: 1 << 20, Blocks: tt.blocks, Bavail: tt.free}); !errors.Is(err, tt.want) {
			t.Errorf("%d of %d MB free: %v", tt.free, tt.blocks, err)
		}
	}
}

// TestSpoolDiskFull: a spool stops before the disk is full.
func TestSpoolDiskFull(t *testing.T) {
	free := uint64(1000)
	statfs = func(_ int, st *unix.Statfs_t) error {
		*st = unix.Statfs_t{Bsize: 1 << 20, Blocks: 10000, Bavail: free}
		return nil
	}
	defer func() { statfs = unix.Fstatfs }()
	s := newSpool(1<<30, new(budget))
	defer s.close()
	lines := bytes.Repeat([]byte("a line\n"), spoolMemory/14)
	for range 10 {
		if err := s.addLines(lines); err != nil {
			t.Fatal(err)
		}
	}
	free = 100
	for range 2 {
		s.addLines(lines)
	}
	if _, err := s.state(); !errors.Is(err, errDisk) {
		t.Errorf("a full disk: %v", err)
	}
}
