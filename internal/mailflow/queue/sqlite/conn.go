package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"

	moderncsqlite "modernc.org/sqlite"
)

// conn is the connection that writes. It speaks to the driver without
// database/sql in between, whose pool and conversions cost as much as the
// statements themselves. One goroutine at a time.
type conn struct {
	c     driver.Conn
	stmts []*stmt
}

func openConn(dsn string) (*conn, error) {
	c, err := (&moderncsqlite.Driver{}).Open(dsn)
	if err != nil {
		return nil, err
	}
	return &conn{c: c}, nil
}

// close closes the connection. Its statements come first: as long as one is
// open SQLite only pretends to close it, and keeps the log.
func (c *conn) close() error {
	var errs []error
	for _, st := range c.stmts {
		errs = append(errs, st.s.Close())
	}
	c.stmts = nil
	return errors.Join(append(errs, c.c.Close())...)
}

// exec runs statements without parameters and results.
func (c *conn) exec(sql string) error {
	_, err := c.c.(driver.ExecerContext).ExecContext(context.Background(), sql, nil)
	return err
}

// number gives the one number that a statement results in, 0 for NULL.
func (c *conn) number(sql string) (int64, error) {
	st, err := c.prepare(sql)
	if err != nil {
		return 0, err
	}
	var n int64
	err = st.query(func(v []driver.Value) error {
		n, _ = v[0].(int64)
		return nil
	})
	return n, err
}

// prepare prepares a statement, which lives as long as the connection.
func (c *conn) prepare(sql string) (*stmt, error) {
	s, err := c.c.Prepare(sql)
	if err != nil {
		return nil, fmt.Errorf("%w in %q", err, sql)
	}
	st := &stmt{s: s, sql: sql}
	c.stmts = append(c.stmts, st)
	return st, nil
}

// stmt is a prepared statement. Its arguments are put into the same slice
// each time.
type stmt struct {
	s    driver.Stmt
	sql  string
	args []driver.NamedValue
	row  []driver.Value
}

func (s *stmt) bind(args []any) []driver.NamedValue {
	s.args = s.args[:0]
	for i, a := range args {
		s.args = append(s.args, driver.NamedValue{Ordinal: i + 1, Value: a})
	}
	return s.args
}

// exec runs the statement and gives the number of rows that it changed.
// Arguments are int64, string, []byte and nil.
func (s *stmt) exec(args ...any) (int64, error) {
	r, err := s.s.(driver.StmtExecContext).ExecContext(context.Background(), s.bind(args))
	clear(s.args) // do not keep bodies alive
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// query calls row for each row of the result. The values are valid until row
// returns.
func (s *stmt) query(row func([]driver.Value) error, args ...any) error {
	rows, err := s.s.(driver.StmtQueryContext).QueryContext(context.Background(), s.bind(args))
	if err != nil {
		return err
	}
	defer rows.Close()
	if s.row == nil {
		s.row = make([]driver.Value, len(rows.Columns()))
	}
	for {
		switch err := rows.Next(s.row); err {
		case nil:
		case io.EOF:
			return nil
		default:
			return err
		}
		if err := row(s.row); err != nil {
			return err
		}
	}
}
