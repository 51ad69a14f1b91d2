package delivery

import (
	"sync"
	"time"
)

const (
	maxIdle     = 100              // idle connections in all
	maxIdleHost = 10               // idle connections to one destination
	idleTime    = 10 * time.Second // after which an idle connection is ended
	maxMessages = 100              // sent over one connection
)

// pool keeps connections between attempts. A connection in it has completed
// its transactions, so that MAIL may follow without RSET.
type pool struct {
	mu     sync.Mutex
	idle   map[string][]*idleConn // newest last
	count  int
	closed bool
	quits  sync.WaitGroup
}

type idleConn struct {
	conn  *Conn
	timer *time.Timer
}

func (p *pool) init() { p.idle = make(map[string][]*idleConn) }

// get gives an idle connection, nil if there is none.
func (p *pool) get(key string) *Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.idle[key]
	if len(list) == 0 {
		return nil
	}
	ic := list[len(list)-1]
	p.remove(key, ic)
	ic.timer.Stop() // if it has fired already, expire will not find ic
	return ic.conn
}

// put takes a connection whose last transaction is complete.
func (p *pool) put(key string, c *Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.count >= maxIdle || len(p.idle[key]) >= maxIdleHost || c.sent >= maxMessages {
		p.quit(c)
		return
	}
	ic := &idleConn{conn: c}
	ic.timer = time.AfterFunc(idleTime, func() { p.expire(key, ic) })
	p.idle[key] = append(p.idle[key], ic)
	p.count++
}

func (p *pool) expire(key string, ic *idleConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.remove(key, ic) {
		p.quit(ic.conn)
	}
}

// remove takes ic out of the pool; p.mu is held.
func (p *pool) remove(key string, ic *idleConn) bool {
	list := p.idle[key]
	for i := range list {
		if list[i] != ic {
			continue
		}
		copy(list[i:], list[i+1:])
		list[len(list)-1] = nil
		if list = list[:len(list)-1]; len(list) == 0 {
			delete(p.idle, key)
		} else {
			p.idle[key] = list
		}
		p.count--
		return true
	}
	return false
}

// end says goodbye on a connection that is not to be used again.
func (p *pool) end(c *Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.quit(c)
}

// quit ends a connection without making anybody wait; p.mu is held, so that
// close does not miss it.
func (p *pool) quit(c *Conn) {
	if p.closed {
		c.Abort()
		return
	}
	p.quits.Go(c.Quit)
}

// close ends all idle connections and waits until they are closed.
func (p *pool) close() {
	p.mu.Lock()
	for _, list := range p.idle {
		for _, ic := range list {
			ic.timer.Stop()
			p.quit(ic.conn)
		}
	}
	clear(p.idle)
	p.count, p.closed = 0, true
	p.mu.Unlock()
	p.quits.Wait()
}
