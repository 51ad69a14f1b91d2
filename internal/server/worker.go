package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"github.com/weirmail/weir/internal/mailflow/delivery"
	"github.com/weirmail/weir/internal/privsep"
)

// deliverer is a process that delivers with the rights of the user that it was
// started as, on as many connections as its parent hands over. It ends with the
// last of them.
type deliverer struct {
	done chan struct{} // closed when the last connection is

	mu    sync.Mutex
	conns int
	over  bool
}

// runWorker is such a process.
func runWorker() error {
	d := &deliverer{done: make(chan struct{})}
	ch, err := privsep.NewChannel(os.NewFile(privsep.ChannelFD, "channel"), d.connection)
	if err != nil {
		return err
	}
	select {
	case <-d.done:
	case <-ch.Done(): // no parent: the engine is gone too, and what it asked for ends
		d.mu.Lock()
		some := d.conns > 0
		d.mu.Unlock()
		if some {
			<-d.done
		}
	}
	return nil
}

// connection takes one more connection.
func (d *deliverer) connection(_ context.Context, r *privsep.Request) (privsep.Reply, error) {
	if r.Name != callConnection || len(r.Files) != 1 {
		return privsep.Reply{}, fmt.Errorf("unknown call %q", r.Name)
	}
	c, err := net.FileConn(r.Files[0])
	if err != nil {
		return privsep.Reply{}, err
	}
	conn, ok := c.(*net.UnixConn)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over || d.conns >= maxConnections || !ok {
		c.Close()
		return privsep.Reply{}, errors.New("no more connections are taken")
	}
	d.conns++
	go func() {
		defer conn.Close()
		if err := delivery.Work(conn); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", workerRole, err)
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.conns--; d.conns == 0 {
			d.over = true
			close(d.done)
		}
	}()
	return privsep.Reply{}, nil
}
