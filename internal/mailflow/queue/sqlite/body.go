package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/weirmail/weir/internal/descriptor"
	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/queue"
)

// body is a body on its way into a file. The file has its name from the
// start; whether it counts is decided by the row that names it. It has no buffer:
// what comes are large pieces, or the pieces of a slow client, of whom there may
// be thousands.
type body struct {
	s      *Store
	id     mail.MessageID
	f      *os.File
	sealed bool
	gone   bool // discarded, or a row has it
}

func (s *Store) bodyPath(id mail.MessageID) string {
	return filepath.Join(s.dir, bodyName, fmt.Sprintf("%02x", uint8(id)), id.String())
}

// Create implements queue.Store.
func (s *Store) Create(id mail.MessageID) (queue.Body, error) {
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.spooling[id] = struct{}{}
	}
	s.mu.Unlock()
	if closed {
		return nil, errClosed
	}
	f, err := descriptor.Wait(context.Background(), func() (*os.File, error) {
		return os.OpenFile(s.bodyPath(id), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	})
	if err != nil {
		s.spooled(id)
		return nil, s.explain(err)
	}
	return &body{s: s, id: id, f: f}, nil
}

func (s *Store) spooled(id mail.MessageID) {
	s.mu.Lock()
	delete(s.spooling, id)
	s.mu.Unlock()
}

func (b *body) Write(p []byte) (int, error) {
	if b.sealed || b.gone {
		return 0, errors.New("the body is closed")
	}
	n, err := b.f.Write(p)
	return n, b.s.explain(err)
}

// Seal writes the file and its name to disk.
func (b *body) Seal() error {
	if b.sealed || b.gone {
		return errors.New("the body is closed")
	}
	err := b.f.Sync()
	if e := b.f.Close(); err == nil {
		err = e
	}
	b.f = nil
	if err == nil {
		err = syncDir(filepath.Dir(b.s.bodyPath(b.id)))
	}
	b.sealed = err == nil
	if err != nil {
		b.Discard()
	}
	return b.s.explain(err)
}

// Discard implements queue.Body.
func (b *body) Discard() {
	b.s.mu.Lock()
	gone := b.gone
	b.gone = true
	b.s.mu.Unlock()
	if gone {
		return
	}
	if b.f != nil {
		b.f.Close()
		b.f = nil
	}
	b.s.unlink([]mail.MessageID{b.id})
	b.s.spooled(b.id)
}

// adopted notes that a row names the file. Called by the writer.
func (b *body) adopted() {
	b.s.mu.Lock()
	b.gone = true
	delete(b.s.spooling, b.id)
	b.s.mu.Unlock()
}

// unlink removes the files of bodies that no row names. One that stays is
// removed at the next start.
func (s *Store) unlink(ids []mail.MessageID) {
	for _, id := range ids {
		if err := os.Remove(s.bodyPath(id)); err != nil && !errors.Is(err, os.ErrNotExist) {
			s.log.Warn("body of a dropped message cannot be removed", "message", id.String(), "error", err)
		}
	}
}

func syncDir(dir string) error {
	d, err := descriptor.Wait(context.Background(), func() (*os.File, error) { return os.Open(dir) })
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// sweep removes the files that no row names, which a crash has left. Mail
// comes and goes meanwhile: what is being spooled is left alone, and a file
// that is neither being spooled nor named afterwards never will be.
func (s *Store) sweep() {
	removed := 0
	for i := range 256 {
		dir := filepath.Join(s.dir, bodyName, fmt.Sprintf("%02x", i))
		entries, err := os.ReadDir(dir)
		if err != nil {
			s.log.Warn("directory of bodies cannot be read", "dir", dir, "error", err)
			continue
		}
		for _, e := range entries {
			select {
			case <-s.stop:
				return
			default:
			}
			if s.leftover(e.Name()) {
				removed++
			}
		}
	}
	if removed > 0 {
		s.log.Info("bodies of messages that were never accepted were removed", "count", removed)
	}
}

const selectRow = "SELECT count(*) FROM message WHERE seq = ?"

// leftover removes the file of that name if nobody needs it.
func (s *Store) leftover(name string) bool {
	n, err := strconv.ParseUint(name, 16, 32)
	id := mail.MessageID(n)
	if err != nil || id.String() != name {
		return false // not ours
	}
	s.mu.Lock()
	_, busy := s.spooling[id]
	s.mu.Unlock()
	if busy {
		return false
	}
	var rows int
	err = s.read.QueryRowContext(context.Background(), selectRow, s.seq(id)).Scan(&rows)
	if err != nil || rows > 0 {
		return false
	}
	s.unlink([]mail.MessageID{id})
	return true
}
