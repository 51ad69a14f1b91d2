package sqlite

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/weirmail/weir/internal/mailflow/queue"
)

// A queue that the first version wrote is taken over with what is in it.
func TestFirstSchema(t *testing.T) {
	dir := t.TempDir()
	c, err := openConn(dsn(filepath.Join(dir, databaseName), readCacheKB))
	if err != nil {
		t.Fatal(err)
	}
	err = c.exec(migrations[0] + fmt.Sprintf(`
PRAGMA application_id = %d;
PRAGMA user_version = 1;
UPDATE meta SET value = x'000102030405060708090a0b0c0d0e0f' WHERE name = 'key';
INSERT INTO message VALUES (7, 1, 's', 'example.org', 1, 1, 1, '', '', '', '', '', 0, 0, '', x'78');
INSERT INTO envelope VALUES (7 << %d, 1 << 32 | 1, %d, 5, 6, 0, 0, 0, 'r', 'example.org', 'r', 'example.org', 'a', '', '', '', 0, '', '');
`, applicationID, envelopeBits, dueClaimed))
	if err := errors.Join(err, c.close()); err != nil {
		t.Fatal(err)
	}
	st := openTest(t, dir)
	if got, err := st.Count(t.Context()); err != nil || got != (queue.Counts{Messages: 1, Envelopes: 1}) {
		t.Errorf("counts are %+v, %v", got, err)
	}
	if names, err := st.Lines(t.Context()); len(names) != 0 || err != nil {
		t.Errorf("lines are %q, %v", names, err)
	}
	claimed, _, err := st.Claim(t.Context(), timeOf(5), 9)
	if err != nil || len(claimed) != 1 || claimed[0].Envelope.Rcpt.Local != "r" || claimed[0].Message.Sender.Local != "s" {
		t.Errorf("claimed %+v, %v", claimed, err)
	}
}
