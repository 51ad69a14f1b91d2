package sink

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
)

// TestMessage reads bodies whose end is, or seems to be, in awkward places.
func TestMessage(t *testing.T) {
	header := "Subject: x\r\nMESSAGE-ID:  <a@b> \r\n\r\n"
	for _, c := range []struct {
		name, in, id string
		size         int
	}{
		{"plain", header + "text\r\n", "<a@b>", 0},
		{"no body", header, "<a@b>", 0},
		{"no blank line", "Message-ID: <a@b>\r\n", "<a@b>", 0},
		{"nothing", "", "", 0},
		{"no id", "Subject: x\r\n\r\nMessage-ID: <a@b>\r\n", "", 0},
		{"the first id counts", "Message-ID: <1>\r\nMessage-ID: <2>\r\n\r\n", "<1>", 0},
		{"dots", header + "..\r\n.. \r\n.\r.\n.\r\r\n\r\n", "<a@b>", 0},
		{"long", header + strings.Repeat("0123456789\r\n", 20000), "<a@b>", 0},
		{"long line in the header", "X: " + strings.Repeat("x", 200000) + "\r\n" + header, "<a@b>", 0},
	} {
		for name, wrap := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "bytes": iotest.OneByteReader, "halves": iotest.HalfReader,
		} {
			r := bufio.NewReaderSize(wrap(strings.NewReader(c.in+".\r\nQUIT\r\n")), 64<<10)
			id, size, err := message(r)
			rest, _ := io.ReadAll(r)
			if err != nil || id != c.id || size != int64(len(c.in)) || string(rest) != "QUIT\r\n" {
				t.Errorf("%s, %s: id %q, %d of %d bytes, %d left, %v", c.name, name, id, size, len(c.in), len(rest), err)
			}
		}
	}
}

func TestCutShort(t *testing.T) {
	for _, in := range []string{"", "Subject: x", "Subject: x\r\n\r\n", "Subject: x\r\n\r\ntext\r\n.\r"} {
		if _, _, err := message(bufio.NewReader(strings.NewReader(in))); err == nil {
			t.Errorf("%q is a message", in)
		}
	}
}

// TestCounts sends a message twice and another one once, in one session.
func TestCounts(t *testing.T) {
	client, server := net.Pipe()
	s := New()
	ended := make(chan error, 1)
	go func() {
		defer server.Close()
		ended <- s.session(server)
	}()
	go func() {
		mail := func(id string) string {
			return "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nrcpt TO:<e@f>\r\nDATA\r\nMessage-ID: <" + id + ">\r\n\r\ntext\r\n.\r\n"
		}
		_, _ = io.WriteString(client, "EHLO x\r\n"+mail("1")+mail("2")+"RSET\r\n"+mail("1")+"VRFY x\r\nQUIT\r\n")
	}()
	replies, err := io.ReadAll(client)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	c := s.Counts()
	if c.Messages != 3 || c.Unique != 2 || c.Recipients != 6 || c.Last == 0 {
		t.Errorf("%+v, replies:\n%s", c, replies)
	}
	s.Reset()
	if c := s.Counts(); c != (Counts{}) {
		t.Errorf("after reset: %+v", c)
	}
}

func TestControl(t *testing.T) {
	s := New()
	s.add("<1>", 1, 10)
	var out strings.Builder
	if err := s.Control(strings.NewReader("counts\nreset\n"), &out); err != nil {
		t.Fatal(err)
	}
	first, second, _ := strings.Cut(out.String(), "\n")
	if !strings.Contains(first, `"unique":1`) || !strings.Contains(second, `"unique":0`) {
		t.Errorf("%s", out.String())
	}
}
