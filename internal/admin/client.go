package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"syscall"
	"time"
)

// Client is a connection to a running server. It makes one call at a time and
// is not for several goroutines. After a failure other than an Error it is of
// no more use.
type Client struct {
	conn net.Conn
	in   *bufio.Scanner
	path string
}

// Dial connects to the control socket at path. The error wraps ErrNoServer
// when no server is there.
func Dial(path string) (*Client, error) {
	c, err := net.DialTimeout("unix", path, 5*time.Second)
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w (%s: no such file)", ErrNoServer, path)
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("%w (%s: nothing answers)", ErrNoServer, path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s: permission denied; only the user who started the server, and root, may control it", path)
	default:
		return nil, fmt.Errorf("control socket: %w", err)
	}
	in := bufio.NewScanner(c)
	in.Buffer(make([]byte, 0, 4096), MaxLine)
	return &Client{conn: c, in: in, path: path}, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

// Call makes one call and decodes its result into result, a pointer, or nil if
// nothing is wanted. A failure that the server tells is an Error. Without a
// deadline in ctx it waits as long as the server works on it.
func (c *Client) Call(ctx context.Context, method string, args, result any) error {
	return c.do(ctx, method, args, result, func(json.RawMessage) error {
		return fmt.Errorf("%s answers with items: a newer server than this command?", method)
	})
}

// Each makes a call that is answered with items and calls f for each as it
// arrives. An error of f ends it, and the client's use.
func Each[T any](ctx context.Context, c *Client, method string, args any, f func(T) error) error {
	return c.do(ctx, method, args, nil, func(raw json.RawMessage) error {
		var item T
		if err := json.Unmarshal(raw, &item); err != nil {
			return fmt.Errorf("item of %s is not understood: %w", method, err)
		}
		return f(item)
	})
}

func (c *Client) do(ctx context.Context, method string, args, result any, item func(json.RawMessage) error) error {
	q := call{Method: method}
	if args != nil {
		b, err := json.Marshal(args)
		if err != nil {
			return fmt.Errorf("arguments of %s: %w", method, err)
		}
		q.Args = b
	}
	line, err := json.Marshal(q)
	if err != nil {
		return fmt.Errorf("arguments of %s: %w", method, err)
	}
	if len(line) >= MaxLine {
		return fmt.Errorf("arguments of %s are longer than %d bytes; make several calls", method, MaxLine)
	}
	c.conn.SetDeadline(time.Time{})
	stop := context.AfterFunc(ctx, func() { c.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := c.conn.Write(append(line, '\n')); err != nil {
		return c.lost(ctx, err)
	}
	for c.in.Scan() {
		last, err := decode(c.in.Bytes(), method, result, item)
		if last || err != nil {
			return err
		}
	}
	return c.lost(ctx, c.in.Err())
}

// decode takes one line of an answer; last reports that it ends the answer.
func decode(line []byte, method string, result any, item func(json.RawMessage) error) (last bool, err error) {
	var a answer
	if err := json.Unmarshal(line, &a); err != nil {
		return true, fmt.Errorf("answer to %s is not understood: %w", method, err)
	}
	switch {
	case a.Error != "":
		return true, Error(a.Error)
	case a.Item != nil:
		return false, item(a.Item)
	case a.Result != nil && result != nil:
		if err := json.Unmarshal(a.Result, result); err != nil {
			return true, fmt.Errorf("result of %s is not understood: %w", method, err)
		}
	}
	return true, nil
}

// lost says why no answer came.
func (c *Client) lost(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("the server on %s ended the call: %w", c.path, err)
}
