package sqlite

import (
	"database/sql/driver"
	"regexp"
	"strings"
	"testing"

	"github.com/weirmail/weir/internal/mailflow/queue"
)

// No statement looks at more of the queue than it is about, however much
// there is: none scans a table or an index, or sorts what it finds. Only after
// a crash, in the background, the rows are counted (countRows).
func TestNoScans(t *testing.T) {
	st := openTest(t, t.TempDir())
	ref, one := queue.Ref{Message: 1}, queue.Ref{Message: 1, Envelope: 1<<32 | 1}
	statements := []string{selectBody, selectCounts, selectLines, selectRow, endClaims}
	for _, r := range []queue.Ref{{}, ref, one} {
		statements = append(statements, selectList(queue.Filter{Ref: r}), selectList(queue.Filter{Ref: r, Held: true}))
	}
	c, err := openConn(dsn(st.dir+"/"+databaseName, readCacheKB))
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	for _, s := range st.w.c.stmts {
		statements = append(statements, s.sql)
	}
	// What a statement makes itself, and has bounded, may be scanned.
	own := regexp.MustCompile(`^SCAN (\(subquery|l$|CONSTANT ROW|\d+ CONSTANT ROW)`)
	for _, sql := range statements {
		for _, step := range plan(t, c, sql) {
			if strings.HasPrefix(step, "SCAN") && !own.MatchString(step) || strings.Contains(step, "TEMP B-TREE") {
				t.Errorf("%q\ndoes this: %s", sql, step)
			}
		}
	}
}

// plan gives the steps that SQLite makes of a statement.
func plan(t *testing.T, c *conn, sql string) []string {
	t.Helper()
	st, err := c.prepare("EXPLAIN QUERY PLAN " + sql)
	if err != nil {
		t.Fatal(err)
	}
	var steps []string
	args := make([]any, strings.Count(sql, "?")) // as many as there are, or more
	err = st.query(func(v []driver.Value) error {
		step, _ := v[3].(string)
		steps = append(steps, step)
		return nil
	}, args...)
	if err != nil {
		t.Fatalf("%q: %v", sql, err)
	}
	return steps
}
