package session

import (
	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/smtp"
)

// proceedRset: the rollback itself follows the reply, see afterReply.
func (s *Session) proceedRset(*request) smtp.Reply { return replyReset }

func (s *Session) proceedNoop(*request) smtp.Reply { return replyOk }

func (s *Session) proceedQuit(*request) smtp.Reply { return replyBye }

func (s *Session) proceedHelp(*request) smtp.Reply {
	r, err := smtp.Lines(214, "2.0.0",
		"This is "+mail.Software,
		"To report bugs in the implementation, please contact postmaster@"+s.name,
		"with full details",
		"End of HELP info")
	if err != nil {
		return replyInternal
	}
	return r
}

// proceedVrfy neither confirms nor denies (RFC 5321 s3.5.3, s7.3).
func (s *Session) proceedVrfy(*request) smtp.Reply { return replyNoVrfy }

func (s *Session) proceedExpn(*request) smtp.Reply { return replyNoExpn }

func (s *Session) proceedWiz(*request) smtp.Reply { return replyWiz }

func (s *Session) proceedUnknown(*request) smtp.Reply { return replyUnknown }
