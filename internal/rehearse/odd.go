package rehearse

import (
	"fmt"
	"strings"

	"github.com/weirmail/weir/internal/filterwire"
)

// The sizes of odd input: the most that the server passes on.
const (
	maxCommandLine = 2048  // an SMTP command, with CR LF
	maxMessageLine = 65535 // a line of a message, without CR LF
	scannerLine    = 65000 // what a reader with a limit of 64 KB for the filter's whole line still takes
	crowd          = 64    // sessions at once
	bigLines       = 5000  // lines of the large message: 380 KB, more than two pipes hold
)

const (
	sender    = "sender@example.net"
	recipient = "alice@example.test"
)

var header = []string{"From: <sender@example.net>", "To: <alice@example.test>", "Subject: a rehearsal", ""}

// oddScenes gives the scenes that are in no transcript.
func oddScenes() []*Scene {
	return []*Scene{
		pipes(), eightBit(), longLines(), emptyMessages(), twoTransactions(), dots(), patientClient(),
		manySessions(), disconnects(), addresses(), largeMessage(), longestLine(),
	}
}

// solo is the scene of one client, who quits in the end.
func solo(name string, play func(c *client)) *Scene {
	s := newScript(name)
	c := s.client(1)
	play(c)
	c.quit()
	return s.sc
}

func pipes() *Scene {
	return solo("pipes in fields", func(c *client) {
		c.connect("<unknown>", "192.0.2.1", ":4321")
		c.ehlo("[192.0.2.1]")
		c.mail(`"a|b||"@example.net`)
		c.rcpt(`x|y|@example.test`)
		c.rcpt("|")
		c.data()
		c.lines("Subject: a|b", "|: |", "", "|", "||", "a|b||c|", "filter-result|1|2|proceed", ".")
		c.commit()
		c.report("protocol-client", "NOOP a|b|c")
		c.ask(filterwire.Noop, "")
		c.told(filterwire.Noop, "250 2.0.0 Ok a|b|c")
		c.report("filter-report", "proc|other|a text| with |bars||")
	})
}

func eightBit() *Scene {
	return solo("8-bit bytes", func(c *client) {
		c.hello()
		c.mail("j\xfcrgen@example.net")
		c.rcpt("jürgen@example.test")
		c.data()
		all := make([]byte, 0, 128)
		for b := 0x80; b <= 0xff; b++ {
			all = append(all, byte(b))
		}
		c.lines("Subject: gr\xfc\xdfe, Grüße", "", string(all), "\xff\xfe\xfd", "\xc3", "\xed\xa0\x80", "Grüße 日本語 🐟", "\t\x01\x1b[31m\x7f", ".")
		c.commit()
	})
}

func longLines() *Scene {
	return solo("long lines", func(c *client) {
		c.hello()
		domain := "@" + strings.Repeat("d", 60) + ".example.net"
		local := strings.Repeat("l", maxCommandLine-len("MAIL FROM:<>\r\n")-len(domain))
		c.mail(local + domain)
		c.rcpt(local[2:] + domain)
		c.data()
		c.lines(header...)
		for _, n := range []int{78, 998, 1023, 1024, 4096, 8191, scannerLine} {
			c.lines(strings.Repeat("y", n))
		}
		c.lines("." + strings.Repeat(".", 4096))
		c.lines(".")
		c.commit()
	})
}

// longestScene is the one that many readers do not survive; see judge.add.
const longestScene = "the longest line"

func longestLine() *Scene {
	return solo(longestScene, func(c *client) {
		c.hello()
		c.whole(sender, recipient, append(header, strings.Repeat("y", maxMessageLine))...)
	})
}

func emptyMessages() *Scene {
	return solo("empty messages", func(c *client) {
		c.hello()
		c.whole(sender, recipient)
		c.whole(sender, recipient, "")
		c.whole(sender, recipient, "", "", "")
		c.whole(sender, recipient, "Subject: a header alone")
		c.whole(sender, recipient, "no header at all", "and no empty line")
	})
}

func twoTransactions() *Scene {
	return solo("transactions, given up and carried out", func(c *client) {
		c.hello()
		c.mail(sender)
		c.command(filterwire.Rset, "RSET", "250 2.0.0 Reset state")
		c.rollback()
		c.whole(sender, recipient, append(header, "first")...)
		c.mail(sender)
		c.rcpt(recipient)
		c.command(filterwire.Rset, "RSET", "250 2.0.0 Reset state")
		c.rollback()
		c.whole(sender, recipient, append(header, "second")...)
		c.command(filterwire.Rset, "RSET", "250 2.0.0 Reset state")
		c.command(filterwire.Noop, "NOOP", "250 2.0.0 Ok")
	})
}

func dots() *Scene {
	return solo("dot-escaped lines", func(c *client) {
		c.hello()
		c.whole(sender, recipient, append(header, "..", "...", "..leading", "x.", "..", "after a line that is a dot", ".. ")...)
		c.whole(sender, recipient, append(header, ".. starts and ends with", "..")...)
	})
}

// patientClient waits before its dot: a filter that ends a message by itself
// shows it now.
func patientClient() *Scene {
	return solo("a slow client", func(c *client) {
		c.hello()
		c.mail(sender)
		c.rcpt(recipient)
		c.data()
		c.lines(header...)
		c.lines("one", "two", "three", "four")
		c.pause()
		c.lines(".")
		c.commit()
	})
}

// manySessions has all sessions ask before one is waited for. They share
// their tokens, as they do in a server.
func manySessions() *Scene {
	s := newScript(fmt.Sprintf("%d sessions at once", crowd))
	clients := make([]*client, crowd)
	for i := range clients {
		clients[i] = s.client(i + 1)
	}
	for _, act := range []func(i int, c *client){
		func(i int, c *client) { c.connect("client.example.net", fmt.Sprintf("192.0.2.%d", i), ":4321") },
		func(i int, c *client) { c.ehlo(fmt.Sprintf("client%d.example.net", i)) },
		func(i int, c *client) { c.mail(fmt.Sprintf("sender%d@example.net", i)) },
		func(i int, c *client) { c.rcpt(fmt.Sprintf("alice%d@example.test", i)) },
		func(_ int, c *client) { c.data() },
		func(_ int, c *client) { c.lines(header...) },
		func(i int, c *client) { c.lines(fmt.Sprintf("line of session %d", i), ".") },
		func(_ int, c *client) { c.commit() },
		func(_ int, c *client) { c.quit() },
	} {
		act := interleave(clients, act)
		s.sc.steps = append(s.sc.steps, act...)
	}
	return s.sc
}

// interleave gives the steps that act makes for each client, the first of all
// before the second of any.
func interleave(clients []*client, act func(i int, c *client)) []step {
	parts := make([][]step, len(clients))
	longest := 0
	for i, c := range clients {
		before := len(c.s.sc.steps)
		act(i, c)
		parts[i] = append([]step(nil), c.s.sc.steps[before:]...)
		c.s.sc.steps = c.s.sc.steps[:before]
		longest = max(longest, len(parts[i]))
	}
	var out []step
	for n := range longest {
		for _, p := range parts {
			if n < len(p) {
				out = append(out, p[n])
			}
		}
	}
	return out
}

// disconnects has clients leave at every place, with questions open.
func disconnects() *Scene {
	s := newScript("clients that leave")
	n := 0
	leave := func(until func(c *client), last func(c *client), inTransaction bool) {
		n++
		c := s.client(n)
		c.hello()
		until(c)
		c.leaves = true
		last(c)
		if inTransaction {
			c.rollback()
		}
		c.gone()
	}
	nothing := func(*client) {}
	toData := func(c *client) { c.mail(sender); c.rcpt(recipient); c.data() }
	leave(nothing, nothing, false)
	leave(nothing, func(c *client) { c.ask(filterwire.MailFrom, sender) }, false)
	leave(func(c *client) { c.mail(sender) }, nothing, true)
	leave(func(c *client) { c.mail(sender) }, func(c *client) { c.ask(filterwire.RcptTo, recipient) }, true)
	leave(func(c *client) { c.mail(sender); c.rcpt(recipient) }, func(c *client) { c.ask(filterwire.Data, "") }, true)
	leave(toData, nothing, true)
	leave(toData, func(c *client) { c.lines(header...) }, true)
	leave(toData, func(c *client) { c.lines(header...); c.lines("half a message", ".") }, true)
	leave(func(c *client) { toData(c); c.lines(header...); c.lines(".") }, func(c *client) { c.ask(filterwire.Commit, "0") }, true)
	leave(nothing, func(c *client) { c.ask(filterwire.Quit, "") }, false)
	c := s.client(n + 1) // and the filter goes on
	c.hello()
	c.whole(sender, recipient, append(header, "after all of them")...)
	c.quit()
	return s.sc
}

func addresses() *Scene {
	s := newScript("addresses of every form")
	for i, a := range [][3]string{
		{"<unknown>", "[2001:db8::1]", ":4321"}, {"localhost", "local", ""}, {"a.example.net", "192.0.2.1", ":25"},
	} {
		c := s.client(i + 1)
		c.connect(a[0], a[1], a[2])
		c.ehlo("[IPv6:2001:db8::1]")
		c.whole("", "postmaster", append(header, "a bounce")...)
		c.whole("gilles", `"quoted local"@example.test`, append(header, "two local parts")...)
		c.whole("@relay.example,@b.example:x@example.net", "x@[192.0.2.7]", append(header, "a source route")...)
		c.report("timeout", "")
		c.gone()
	}
	return s.sc
}

// largeMessage is more than the pipes hold: a filter that cannot be written
// to and read from at the same time is found, and so is a slow one.
func largeMessage() *Scene {
	return solo("a large message", func(c *client) {
		c.hello()
		c.mail(sender)
		c.rcpt(recipient)
		c.data()
		c.lines(header...)
		line := strings.Repeat("x", 76)
		for range bigLines {
			c.lines(line)
		}
		c.lines(".")
		c.commit()
	})
}
