package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirmail/weir/internal/admin"
)

// The options of sendmail by how they take a value. Those that mean nothing
// here are taken and ignored, because programs give them.
const (
	sendmailValued   = "ABbCFfhLNOopRrVX" // -fVALUE or -f VALUE
	sendmailAttached = "dEeJq"            // -qVALUE or -q alone
	sendmailBare     = "GimnSsTtUvx"
)

// sendmailArgs is a command line of sendmail, read.
type sendmailArgs struct {
	submission
	mode   byte   // of -b: m message, s SMTP on standard input, p mailq, i newaliases
	config string // of -C
	flush  bool   // -q
}

func sendmailCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "sendmail [options] [RECIPIENT...]",
		Short: "Hand a message in, with sendmail's options; also argv[0] sendmail",
		Long: `Hand a message from standard input to the server, with the options that
programs give to sendmail. This command also answers to the name sendmail.

  -f ADDR, -r ADDR  reverse-path; else the first address of From:, else you
  -F NAME           full name for a From: that is added
  -t                recipients are (also) those of To:, Cc: and Bcc:
  -i, -oi           a line with a single dot does not end the message
  -N WHEN           NOTIFY of delivery reports: never, or success,failure,delay
  -R full|hdrs      how much of the message a delivery report returns
  -V ID             envelope id for delivery reports
  -bm               send a message (the default)
  -bs               speak SMTP on standard input and output
  -bp               list the queue, as mailq
  -bi               do nothing, as newaliases
  -q                try all of the queue now
  -v                show the dialog with the server
  -C FILE           configuration, to find the server

Other options of sendmail are ignored. From: and Date: are added where they are
missing, Bcc: is removed. Exit status as in sysexits.h: 75 if it may work later,
70 if the server refused for good.`,
		Example: `  sendmail -t < message
  sendmail -f www@example.org -oi alice@example.com < message`,
		DisableFlagParsing: true,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 && (args[0] == "--help" || args[0] == "-h") {
				return c.Help()
			}
			a, err := parseSendmail(args)
			if err != nil {
				return exitWith(exitUsage, err)
			}
			if a.config != "" {
				o.config = a.config
			}
			return a.run(c, o)
		},
	}
}

// run does what the mode says.
func (a *sendmailArgs) run(c *cobra.Command, o *options) error {
	switch {
	case a.mode == 'i':
		return newaliasesCommand().RunE(c, nil)
	case a.mode == 'p':
		return queueListing(time.Now()).print(c, o, admin.Selection{}, false)
	case a.flush:
		return queueRetry.do(c, o, admin.Selection{All: true})
	case a.mode == 's':
		p, err := o.locate()
		if err != nil {
			return err
		}
		return o.explain(passThrough(c.Context(), p, c.InOrStdin(), c.OutOrStdout()))
	}
	err := a.submit(c, o)
	var refused *refusal
	if errors.As(err, &refused) && !refused.temporary() {
		return exitWith(exitSoftware, commandFailed{refused})
	}
	return err
}

// commandFailed says a refusal in the words that callers of OpenSMTPD's
// sendmail know, which an empty line follows.
type commandFailed struct{ *refusal }

func (c commandFailed) Error() string { return "command failed: " + c.line + "\n" }

// parseSendmail reads options and recipients, in any order as getopt(3) of
// GNU allows; "--" ends the options.
func parseSendmail(args []string) (*sendmailArgs, error) {
	a := &sendmailArgs{mode: 'm', submission: submission{dotEnds: true}}
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		if arg == "--" {
			a.rcpts = append(a.rcpts, args...)
			break
		}
		if len(arg) < 2 || arg[0] != '-' {
			a.rcpts = append(a.rcpts, arg)
			continue
		}
		var err error
		if args, err = a.cluster(arg[1:], args); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// cluster reads the letters of one argument, "-tiv" or "-tfADDR", and gives
// the arguments that are left.
func (a *sendmailArgs) cluster(letters string, args []string) ([]string, error) {
	for len(letters) > 0 {
		c := letters[0]
		letters = letters[1:]
		value := ""
		switch {
		case strings.IndexByte(sendmailBare, c) >= 0:
		case strings.IndexByte(sendmailAttached, c) >= 0:
			value, letters = letters, ""
		case strings.IndexByte(sendmailValued, c) < 0:
			return nil, fmt.Errorf("unknown option -%c; see: sendmail --help", c)
		case letters != "":
			value, letters = letters, ""
		case len(args) > 0:
			value, args = args[0], args[1:]
		default:
			return nil, fmt.Errorf("option -%c needs a value; see: sendmail --help", c)
		}
		if err := a.set(c, value); err != nil {
			return nil, err
		}
	}
	return args, nil
}

// set takes one option.
func (a *sendmailArgs) set(c byte, value string) error {
	switch c {
	case 'f', 'r':
		a.from, a.fromGiven = value, true
	case 'F':
		a.name = value
	case 't':
		a.readHeader = true
	case 'i':
		a.dotEnds = false
	case 'o':
		if value == "i" {
			a.dotEnds = false
		}
	case 'v':
		a.verbose = os.Stdout
	case 'N':
		a.notify = value
	case 'R':
		a.ret = value
	case 'V':
		a.envid = value
	case 'C':
		a.config = value
	case 'q':
		a.flush = true
	case 'b':
		if len(value) != 1 || strings.IndexByte("mspi", value[0]) < 0 {
			return fmt.Errorf("-b%s is not offered; -bm, -bs, -bp and -bi are (the server is started with: weir run)", value)
		}
		a.mode = value[0]
	}
	return nil
}
