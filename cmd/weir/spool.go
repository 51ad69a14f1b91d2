package main

import (
	"bytes"
	"io"
	"os"
)

// spoolMemory is how many bytes of a message stay in memory.
const spoolMemory = 1 << 20

// spool keeps what is written to it: in memory as long as that is little, then
// in a temporary file without a name. The zero spool is empty.
type spool struct {
	mem  bytes.Buffer
	file *os.File
}

// Write adds p.
func (s *spool) Write(p []byte) (int, error) {
	if s.file == nil {
		if s.mem.Len()+len(p) <= spoolMemory {
			return s.mem.Write(p)
		}
		f, err := os.CreateTemp("", "weir-send-")
		if err != nil {
			return 0, err
		}
		os.Remove(f.Name()) // it lives as long as it is open
		s.file = f
		if _, err := s.mem.WriteTo(f); err != nil {
			return 0, err
		}
	}
	return s.file.Write(p)
}

// WriteTo writes all that was kept to w; the spool is empty after it.
func (s *spool) WriteTo(w io.Writer) (int64, error) {
	if s.file == nil {
		return s.mem.WriteTo(w)
	}
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	return io.Copy(w, s.file)
}

// Close frees the file, if there is one.
func (s *spool) Close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}
