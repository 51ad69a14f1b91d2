package privsep

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// channelPair gives two ends of a channel, of which one answers.
func channelPair(t *testing.T, answers Handler) (asks, answersTo *Channel) {
	t.Helper()
	a, b, err := SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewChannel(b, answers)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := NewChannel(a, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close(); other.Close(); <-ours.Done(); <-other.Done() })
	return ours, other
}

type echoArgs struct {
	Text string
	N    int
}

// echo answers with what it got, descriptors included.
func echo(ctx context.Context, r *Request) (Reply, error) {
	var a echoArgs
	if err := r.Args(&a); err != nil {
		return Reply{}, err
	}
	switch r.Name {
	case "fail":
		return Reply{}, errors.New(a.Text)
	case "wait":
		<-ctx.Done()
		return Reply{}, ctx.Err()
	case "long":
		return Reply{Value: echoArgs{Text: strings.Repeat("x", a.N)}}, nil
	}
	files := r.Files
	r.Files = nil
	return Reply{Value: a, Files: files}, nil
}

func TestChannel(t *testing.T) {
	c, _ := channelPair(t, echo)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got echoArgs
	files, err := c.Call(t.Context(), "echo", echoArgs{"hello", 7}, &got, w)
	w.Close()
	if err != nil || got != (echoArgs{"hello", 7}) || len(files) != 1 {
		t.Fatalf("%+v, %d descriptors, %v", got, len(files), err)
	}
	files[0].WriteString("through")
	files[0].Close()
	if b, err := io.ReadAll(r); string(b) != "through" || err != nil {
		t.Errorf("read %q, %v: the descriptor is not the one, or another is open", b, err)
	}
	var told RemoteError
	if _, err := c.Call(t.Context(), "fail", echoArgs{Text: "not today"}, nil); !errors.As(err, &told) || told != "not today" {
		t.Errorf("error %v", err)
	}
	if _, err := c.Call(t.Context(), "echo", struct{ Strange int }{1}, nil); err == nil || !strings.Contains(err.Error(), "unknown field") {
		t.Errorf("strange arguments: %v", err)
	}
}

// TestChannelBounds: at the limit a packet passes, above it neither side sends.
func TestChannelBounds(t *testing.T) {
	c, _ := channelPair(t, echo)
	over, _ := json.Marshal(packet{ID: 1, Body: json.RawMessage(`{"Text":"","N":0}`)})
	most := MaxPacket - len(over)
	if _, err := c.Call(t.Context(), "long", echoArgs{N: most}, &echoArgs{}); err != nil {
		t.Errorf("%d bytes: %v", most, err)
	}
	if _, err := c.Call(t.Context(), "long", echoArgs{N: most + 1}, &echoArgs{}); err == nil || !strings.Contains(err.Error(), "a message of") {
		t.Errorf("%d bytes: %v", most+1, err)
	}
	if _, err := c.Call(t.Context(), "echo", echoArgs{Text: strings.Repeat("x", MaxPacket)}, nil); err == nil {
		t.Error("a call of more than MaxPacket was sent")
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	files := make([]*os.File, MaxFiles+1)
	for i := range files {
		files[i] = null
	}
	got, err := c.Call(t.Context(), "echo", echoArgs{}, nil, files[:MaxFiles]...)
	if err != nil || len(got) != MaxFiles {
		t.Errorf("%d descriptors came back, %v", len(got), err)
	}
	closeAll(got)
	if _, err := c.Call(t.Context(), "echo", echoArgs{}, nil, files...); err == nil {
		t.Error("more than MaxFiles were sent")
	}
}

// TestChannelSocket: a socket that was sent does not become blocking, for whoever
// waits on it already could not close it then.
func TestChannelSocket(t *testing.T) {
	c, _ := channelPair(t, echo)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	f, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := c.Call(t.Context(), "echo", echoArgs{}, nil, f)
	if err != nil {
		t.Fatal(err)
	}
	closeAll(got)
	raw, err := ln.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		if flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK == 0 {
			t.Errorf("the socket is blocking: %#o, %v", flags, err)
		}
	})
}

// TestChannelEnd: who waits when the other side goes is told, and so is who
// comes later; a call is given up with its context.
func TestChannelEnd(t *testing.T) {
	c, other := channelPair(t, echo)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := c.Call(ctx, "wait", nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("given up: %v", err)
	}
	done := make(chan error, 1)
	go func() { _, err := c.Call(t.Context(), "wait", nil, nil); done <- err }()
	other.Close()
	if err := <-done; !errors.Is(err, ErrClosed) && !errors.As(err, new(RemoteError)) {
		t.Errorf("under way: %v", err)
	}
	<-c.Done()
	if _, err := c.Call(t.Context(), "echo", nil, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}

// TestChannelGarbage: what is no packet ends the channel.
func TestChannelGarbage(t *testing.T) {
	for _, text := range []string{"x", "{}", `{"id":1}{}`, `{"id":1,"strange":2}`, `{"id":-1}`, strings.Repeat("x", MaxPacket+1)} {
		a, b, err := SocketPair()
		if err != nil {
			t.Fatal(err)
		}
		c, err := NewChannel(b, echo)
		if err != nil {
			t.Fatal(err)
		}
		a.Write([]byte(text))
		select {
		case <-c.Done():
		case <-time.After(10 * time.Second):
			t.Errorf("%.30q does not end the channel", text)
		}
		a.Close()
	}
}

func FuzzPacket(f *testing.F) {
	f.Add([]byte(`{"id":1,"call":"sign","body":{"Key":0,"Digest":"AAAA","Hash":5}}`))
	f.Add([]byte(`{"id":2,"error":"no"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := decodePacket(text)
		if err != nil {
			return
		}
		if p.ID == 0 {
			t.Error("a packet without id")
		}
		var a signArgs
		r := Request{body: p.Body}
		if r.Args(&a) == nil {
			a.check(1)
		}
		if _, err := json.Marshal(p); err != nil {
			t.Errorf("%+v cannot be sent: %v", p, err)
		}
	})
}
