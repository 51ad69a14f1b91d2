package main

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirmail/weir/internal/server"
)

// submission is a message to hand in, but for the message itself.
type submission struct {
	from       string // reverse-path; "" with fromGiven is the null one
	fromGiven  bool   // else From: says it, or it is the caller
	name       string // full name for a From: that is added
	rcpts      []string
	readHeader bool // To, Cc and Bcc have recipients
	dotEnds    bool // a lone dot ends the message
	notify     string
	ret        string
	envid      string
	verbose    *os.File // the dialog goes there; nil: nowhere
}

func sendCommand(o *options) *cobra.Command {
	var s submission
	var verbose bool
	c := &cobra.Command{
		Use:   "send [-f FROM] [-t] [TO...]",
		Short: "Hand a message from standard input to the server",
		Long: `Hand a message from standard input to the server, over the SMTP socket in its
queue's directory, and wait until it is accepted.

From: and Date: are added where they are missing, Bcc: is removed. Names without
a domain get the server's. If one recipient is refused, nothing is sent. The
exit status is that of sysexits.h: 0 accepted, 64 wrong usage, 65 the message
cannot be sent as it is, 67 a recipient was refused, 69 refused for another
reason, 75 not now.`,
		Example: `  weir send -f me@example.org alice@example.com < message
  printf 'Subject: hello\n\nworld\n' | weir send alice bob
  weir send -t < message`,
		RunE: func(c *cobra.Command, args []string) error {
			s.rcpts = args
			s.fromGiven = c.Flags().Changed("from")
			if verbose {
				s.verbose = os.Stdout
			}
			return s.submit(c, o)
		},
	}
	f := c.Flags()
	f.StringVarP(&s.from, "from", "f", "", "reverse-path `address`; '<>' is the null one")
	f.StringVarP(&s.name, "name", "F", "", "full `name` for a From: that is added")
	f.BoolVarP(&s.readHeader, "read-recipients", "t", false, "recipients are (also) those of To:, Cc: and Bcc:")
	f.StringVarP(&s.notify, "notify", "N", "", "delivery reports wanted: never, or success,failure,delay")
	f.StringVarP(&s.ret, "return", "R", "", "what a delivery report returns: full or hdrs")
	f.StringVarP(&s.envid, "envid", "V", "", "`id` for delivery reports, in xtext")
	f.BoolVarP(&verbose, "verbose", "v", false, "show the dialog with the server")
	addQueueFlag(c, o)
	return c
}

// submit reads the message and hands it in.
func (s *submission) submit(c *cobra.Command, o *options) error {
	p, err := o.locate()
	if err != nil {
		return err
	}
	m, err := readMessage(c.InOrStdin(), s.dotEnds)
	if err != nil {
		return err
	}
	defer m.Close()
	if err := s.complete(m, p.host); err != nil {
		return err
	}
	conn, err := dialSMTP(c.Context(), p)
	if err != nil {
		return o.explain(err)
	}
	defer conn.Close()
	return s.transfer(newDialog(conn, s.verbose), m)
}

// complete settles reverse-path and recipients, from the options, the header
// and the caller, and adds to the header what it lacks.
func (s *submission) complete(m *message, host string) error {
	caller, err := user.Current()
	if err != nil {
		caller = &user.User{Username: "anonymous"}
	}
	name := s.name
	if !s.fromGiven {
		s.from = caller.Username
		if name == "" {
			name = fullName(caller)
		}
		from, err := m.addresses("From")
		if err != nil {
			return err
		}
		if len(from) > 0 {
			s.from = from[0]
		}
	}
	if s.from, err = qualify(s.from, host); err != nil {
		return fmt.Errorf("reverse-path: %w", err)
	}
	if s.readHeader {
		rcpts, err := m.addresses("To", "Cc", "Bcc")
		if err != nil {
			return err
		}
		s.rcpts = append(s.rcpts, rcpts...)
	}
	if s.rcpts, err = qualifyAll(s.rcpts, host); err != nil {
		return fmt.Errorf("recipient: %w", err)
	}
	if len(s.rcpts) == 0 {
		return exitWith(exitUsage, fmt.Errorf("no recipients: name them, or give -t to take those of the header"))
	}
	m.finish(s.from, name)
	return nil
}

// qualifyAll qualifies each of addrs, which may also be lists with commas.
func qualifyAll(addrs []string, host string) ([]string, error) {
	var all []string
	for _, list := range addrs {
		parts, err := parseAddresses([]byte(list))
		if err != nil {
			return nil, exitWith(exitDataErr, fmt.Errorf("%q: %w", list, err))
		}
		for _, a := range parts {
			if a, err = qualify(a, host); err != nil {
				return nil, err
			}
			all = append(all, a)
		}
	}
	return all, nil
}

// qualify takes brackets off an address and gives it host as its domain if it
// has none. What could end a command line or a path is refused.
func qualify(a, host string) (string, error) {
	if strings.HasPrefix(a, "<") && strings.HasSuffix(a, ">") {
		a = a[1 : len(a)-1]
	}
	if i := strings.IndexFunc(a, func(r rune) bool { return r < ' ' || r == 0x7f || r == '<' || r == '>' }); i >= 0 {
		return "", exitWith(exitDataErr, fmt.Errorf("%q has a character that no address can have", a))
	}
	if a == "" || strings.Contains(a, "@") {
		return a, nil
	}
	return a + "@" + host, nil
}

// fullName is the name of the account as people know it: in the user database
// "&" stands for the login name with a capital.
func fullName(u *user.User) string {
	if u.Username == "" {
		return u.Name
	}
	return strings.ReplaceAll(u.Name, "&", strings.ToUpper(u.Username[:1])+u.Username[1:])
}

// smtp is the path of the server's SMTP socket.
func (p place) smtp() string { return filepath.Join(p.dir, server.SMTPSocket) }
