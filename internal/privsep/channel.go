package privsep

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The bounds of a conversation between two processes of the server.
const (
	MaxPacket = 64 << 10 // bytes of one call or reply; what is larger goes as a descriptor
	MaxFiles  = 64       // descriptors that one call or reply carries
	maxCalls  = 4096     // answered at once; further ones are refused

	packetTimeout = 30 * time.Second // for the other side to take a packet
)

// ErrClosed is what a call gets whose other side is gone.
var ErrClosed = errors.New("the other process is gone")

// RemoteError is a call's failure, as the other side told it.
type RemoteError string

// Error gives the other side's text.
func (e RemoteError) Error() string { return string(e) }

// packet is one message: a call if it has a Call, a reply otherwise.
type packet struct {
	ID    uint64          `json:"id"`
	Call  string          `json:"call,omitempty"`
	Body  json.RawMessage `json:"body,omitempty"`
	Error string          `json:"error,omitempty"`
}

// Request is a call that waits for its answer.
type Request struct {
	Name  string
	Files []*os.File // closed when the handler has returned, unless it sets them to nil

	body json.RawMessage
}

// Args decodes the arguments of the call into v. It refuses words that v does
// not have.
func (r *Request) Args(v any) error { return strict(r.body, v) }

// Reply is what a handler answers: a value, and descriptors that are closed
// once they were sent.
type Reply struct {
	Value any
	Files []*os.File
}

// Handler answers a call. ctx ends when the other side is gone.
type Handler func(ctx context.Context, r *Request) (Reply, error)

// Channel carries calls between two processes, in both directions, over a pair
// of unix sockets that keep messages apart (SOCK_SEQPACKET). Calls overtake
// each other. It is safe for concurrent use.
type Channel struct {
	conn   *net.UnixConn
	handle Handler
	done   chan struct{} // closed when the other side is gone
	ctx    context.Context
	cancel context.CancelFunc
	places chan struct{}

	mu    sync.Mutex
	last  uint64
	calls map[uint64]chan<- answer // nil when over
}

// answer is what became of a call.
type answer struct {
	packet
	files []*os.File
}

// SocketPair makes the two ends of a channel; the other end is for a child.
func SocketPair() (our, child *os.File, err error) { return socketPair(unix.SOCK_SEQPACKET) }

// StreamPair makes a pair of stream sockets.
func StreamPair() (our, child *os.File, err error) { return socketPair(unix.SOCK_STREAM) }

func socketPair(kind int) (our, child *os.File, err error) {
	fd, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(fd[0]), "channel"), os.NewFile(uintptr(fd[1]), "channel"), nil
}

// NewChannel makes a channel of one end of a SocketPair, which it takes over.
// Calls of the other side go to handle; with nil there are none.
func NewChannel(end *os.File, handle Handler) (*Channel, error) {
	defer end.Close()
	c, err := net.FileConn(end)
	if err != nil {
		return nil, err
	}
	conn, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, errors.New("the descriptor is no unix socket")
	}
	if handle == nil {
		handle = func(context.Context, *Request) (Reply, error) { return Reply{}, errors.New("nothing is answered here") }
	}
	ch := &Channel{
		conn: conn, handle: handle, done: make(chan struct{}),
		places: make(chan struct{}, maxCalls), calls: make(map[uint64]chan<- answer),
	}
	ch.ctx, ch.cancel = context.WithCancel(context.Background())
	go ch.read()
	return ch, nil
}

// Done is closed when the other side is gone, or Close was called.
func (c *Channel) Done() <-chan struct{} { return c.done }

// Close ends the channel. Calls under way get ErrClosed.
func (c *Channel) Close() { c.conn.Close() }

// Call asks the other side and waits for the answer, which is decoded into
// reply unless that is nil. The descriptors of the answer are the caller's to
// close. A failure that the other side told is a RemoteError.
func (c *Channel) Call(ctx context.Context, name string, args, reply any, files ...*os.File) ([]*os.File, error) {
	if name == "" {
		return nil, errors.New("a call without a name would be a reply")
	}
	body, err := json.Marshal(args)
	if err != nil {
		return nil, err
	}
	got := make(chan answer, 1)
	c.mu.Lock()
	if c.calls == nil {
		c.mu.Unlock()
		return nil, fmt.Errorf("%s: %w", name, ErrClosed)
	}
	c.last++
	id := c.last
	c.calls[id] = got
	c.mu.Unlock()
	if err := c.send(packet{ID: id, Call: name, Body: body}, files); err != nil {
		c.forget(id)
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	select {
	case a := <-got:
		return a.result(name, reply)
	case <-ctx.Done():
		if !c.forget(id) {
			closeAll((<-got).files) // it came meanwhile
		}
		return nil, fmt.Errorf("%s: %w", name, context.Cause(ctx))
	}
}

// result gives what an answer says.
func (a *answer) result(name string, reply any) ([]*os.File, error) {
	err := error(nil)
	switch {
	case a.ID == 0:
		err = ErrClosed
	case a.Error != "":
		err = RemoteError(a.Error)
	case reply != nil:
		err = strict(a.Body, reply)
	}
	if err != nil {
		closeAll(a.files)
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return a.files, nil
}

// forget gives a call up. It reports false if its answer has come.
func (c *Channel) forget(id uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, waits := c.calls[id]
	delete(c.calls, id)
	return waits
}

// send writes one packet with its descriptors.
func (c *Channel) send(p packet, files []*os.File) error {
	if len(files) > MaxFiles {
		return fmt.Errorf("%d descriptors; a message can carry %d", len(files), MaxFiles)
	}
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if len(text) > MaxPacket {
		return fmt.Errorf("a message of %d bytes; it can have %d", len(text), MaxPacket)
	}
	var rights []byte
	if len(files) > 0 {
		if rights, err = rightsTo(files); err != nil {
			return err
		}
		defer runtime.KeepAlive(files)
	}
	c.conn.SetWriteDeadline(time.Now().Add(packetTimeout))
	_, _, err = c.conn.WriteMsgUnix(text, rights, nil)
	if errors.Is(err, net.ErrClosed) || errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
		return ErrClosed
	}
	return err
}

// rightsTo is what goes beside a packet to send descriptors. Fd would make
// them blocking, for everybody who has the same open file: a socket that the
// other side waits on by now could not be closed there.
func rightsTo(files []*os.File) ([]byte, error) {
	fds := make([]int, len(files))
	for i, f := range files {
		c, err := f.SyscallConn()
		if err == nil {
			err = c.Control(func(fd uintptr) { fds[i] = int(fd) })
		}
		if err != nil {
			return nil, fmt.Errorf("descriptor to send: %w", err)
		}
	}
	return unix.UnixRights(fds...), nil
}

// read takes packets until the other side is gone or sends what is none.
func (c *Channel) read() {
	defer c.end()
	buf := make([]byte, MaxPacket+1)
	rights := make([]byte, unix.CmsgSpace(MaxFiles*4))
	for {
		n, r, flags, _, err := c.conn.ReadMsgUnix(buf, rights)
		if err != nil || n == 0 {
			return
		}
		files, ferr := receivedFiles(rights[:r])
		p, err := decodePacket(buf[:n])
		if err != nil || ferr != nil || flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
			closeAll(files)
			return // nothing after it can be trusted
		}
		if p.Call != "" {
			c.called(p, files)
		} else {
			c.answered(answer{p, files})
		}
	}
}

// end tells all who wait that nothing more comes.
func (c *Channel) end() {
	c.conn.Close()
	c.cancel()
	c.mu.Lock()
	calls := c.calls
	c.calls = nil
	c.mu.Unlock()
	for _, got := range calls {
		got <- answer{}
	}
	close(c.done)
}

func (c *Channel) answered(a answer) {
	c.mu.Lock()
	got := c.calls[a.ID]
	delete(c.calls, a.ID)
	c.mu.Unlock()
	if got == nil {
		closeAll(a.files) // nobody waits any more
		return
	}
	got <- a // has room
}

// called has a call answered by a goroutine of its own.
func (c *Channel) called(p packet, files []*os.File) {
	select {
	case c.places <- struct{}{}:
	default:
		closeAll(files)
		c.send(packet{ID: p.ID, Error: "too many calls at once"}, nil)
		return
	}
	go func() {
		defer func() { <-c.places }()
		r := &Request{Name: p.Call, Files: files, body: p.Body}
		rep, err := c.handle(c.ctx, r)
		closeAll(r.Files)
		defer closeAll(rep.Files)
		out := packet{ID: p.ID}
		if err == nil && rep.Value != nil {
			out.Body, err = json.Marshal(rep.Value)
		}
		if err == nil {
			err = c.send(out, rep.Files)
		}
		if err != nil && !errors.Is(err, ErrClosed) {
			c.send(packet{ID: p.ID, Error: cut(err.Error())}, nil)
		}
	}()
}

// cut bounds the text of an error, which is never empty: that would be none.
func cut(s string) string {
	if s == "" {
		return "failed"
	}
	return s[:min(len(s), MaxPacket/16)]
}

// decodePacket reads one packet.
func decodePacket(text []byte) (packet, error) {
	var p packet
	if len(text) > MaxPacket {
		return p, fmt.Errorf("longer than %d bytes", MaxPacket)
	}
	if err := strict(text, &p); err != nil {
		return p, err
	}
	if p.ID == 0 {
		return p, errors.New("no id")
	}
	return p, nil
}

// strict decodes exactly one value of JSON, with known words alone. Nothing at
// all is the zero value.
func strict(text []byte, v any) error {
	if len(text) == 0 {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("something follows it")
	}
	return nil
}

// receivedFiles takes descriptors out of what came beside a packet.
func receivedFiles(rights []byte) ([]*os.File, error) {
	if len(rights) == 0 {
		return nil, nil
	}
	msgs, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for i := range msgs {
		fds, err := unix.ParseUnixRights(&msgs[i])
		if err != nil {
			return files, err
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}
