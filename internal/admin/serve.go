package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// farewell is how long a server that stops takes to say what became of a call.
const farewell = time.Second

// maxSocketPath is what fits into sockaddr_un with its final NUL.
const maxSocketPath = 107

// Serve answers calls on a unix socket at path until ctx ends, then lets the
// calls under way see that and waits for them. It fails if the socket cannot
// be made or another server answers on it.
func Serve(ctx context.Context, path string, h Handler) error {
	ln, err := Listen(path)
	if err != nil {
		return err
	}
	return ServeListener(ctx, ln, h)
}

// Listen makes the control socket, which only the owner of this process can
// open. A socket that a dead server left behind is replaced.
func Listen(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("control socket %s: the path has %d bytes, a socket can have %d; choose a shorter queue path",
			path, len(path), maxSocketPath)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		// Linux gives the socket's file the mode that its descriptor has, so
		// that at no moment anybody else can open it.
		var err error
		if e := c.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), 0o600) }); e != nil {
			return e
		}
		return err
	}}
	ln, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		ln.Close()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return ln, nil
}

// removeStale makes way for a new socket, unless somebody answers on the old one.
func removeStale(path string) error {
	fi, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	if fi.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("control socket %s: something that is not a socket is in its place; move it away", path)
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		c.Close()
		return fmt.Errorf("another server is running on %s; stop it first", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("control socket: is another server running? %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("control socket: %w", err)
	}
	return nil
}

// ServeListener is Serve on a listener that Listen made. It closes ln, which
// removes the socket.
func ServeListener(ctx context.Context, ln net.Listener, h Handler) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()

	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel() // before Wait: calls under way end
	places := make(chan struct{}, MaxConnections)
	for {
		places <- struct{}{}
		c, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if isShortage(err) {
				<-places
				time.Sleep(100 * time.Millisecond) // out of descriptors: others may close some
				continue
			}
			ln.Close()
			return fmt.Errorf("control socket: %w", err)
		}
		wg.Go(func() {
			defer func() { <-places }()
			serveConn(ctx, c, h)
		})
	}
}

// isShortage reports whether Accept failed for want of something that comes back.
func isShortage(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) ||
		errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM)
}

// serveConn answers the calls of one connection until it ends or is silent.
func serveConn(ctx context.Context, c net.Conn, h Handler) {
	defer c.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		c.SetReadDeadline(time.Unix(1, 0))
		c.SetWriteDeadline(time.Now().Add(farewell))
	})
	defer stop()

	in := bufio.NewScanner(c)
	in.Buffer(make([]byte, 0, 4096), MaxLine)
	send := func(a answer) error {
		err := writeLine(ctx, c, a)
		if a.Item != nil && err == nil {
			err = ctx.Err() // there may be many more
		}
		if err != nil {
			cancel()
		}
		return err
	}
	for {
		c.SetReadDeadline(time.Now().Add(IdleTimeout))
		if ctx.Err() != nil {
			return // the deadline above may have undone that of AfterFunc
		}
		if !in.Scan() {
			if errors.Is(in.Err(), bufio.ErrTooLong) {
				send(answer{Error: fmt.Sprintf("request longer than %d bytes", MaxLine)})
			}
			return
		}
		if send(handle(ctx, in.Bytes(), h, send)) != nil {
			return
		}
	}
}

// handle answers one request line. It gives the last line of the answer.
func handle(ctx context.Context, line []byte, h Handler, send func(answer) error) answer {
	var q call
	if err := json.Unmarshal(line, &q); err != nil {
		return answer{Error: "request is not understood: " + err.Error()}
	}
	result, err := h.ServeAdmin(ctx, &Request{Method: q.Method, args: q.Args, send: send})
	if err != nil {
		return answer{Error: errorText(err)}
	}
	if result == nil {
		return answer{}
	}
	b, err := json.Marshal(result)
	if err != nil {
		return answer{Error: fmt.Sprintf("result of %s: %v", q.Method, err)}
	}
	return answer{Result: b}
}

// errorText is err's text, never empty: an empty one would read as success.
func errorText(err error) string {
	if s := err.Error(); s != "" {
		return s
	}
	return fmt.Sprintf("failed (%T)", err)
}

// writeLine writes one bounded line of JSON.
func writeLine(ctx context.Context, c net.Conn, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(b) >= MaxLine {
		b, _ = json.Marshal(answer{Error: fmt.Sprintf("answer with a part of %d bytes; at most %d can be sent", len(b), MaxLine)})
	}
	c.SetWriteDeadline(time.Now().Add(IdleTimeout))
	if ctx.Err() != nil {
		c.SetWriteDeadline(time.Now().Add(farewell))
	}
	_, err = c.Write(append(b, '\n'))
	return err
}
