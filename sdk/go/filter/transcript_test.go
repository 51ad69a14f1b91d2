package filter_test

import (
	"bytes"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirmail/weir/sdk/go/filter"
	"github.com/weirmail/weir/sdk/internal/transcript"
)

// reference is the filter of protocol/transcripts/README.md.
func reference() *filter.Filter {
	f := filter.New()
	decide := func(q *filter.Question) {
		switch {
		case strings.Contains(q.Arg, "refused"):
			q.Answer(filter.Reject(550, "5.7.1 refused by the filter"))
		case strings.Contains(q.Arg, "later"):
			q.Answer(filter.Reject(451, "4.7.1 later, says the filter"))
		case strings.Contains(q.Arg, "dropped"):
			q.Answer(filter.Disconnect(421, "4.7.0 dropped by the filter"))
		default:
			q.Answer(filter.Proceed)
		}
	}
	for _, phase := range []filter.Phase{filter.Connect, filter.Helo, filter.Ehlo, filter.RcptTo} {
		f.On(phase, decide)
	}
	f.On(filter.MailFrom, func(q *filter.Question) {
		q.Session.Value = q.Arg
		decide(q)
	})
	f.On(filter.Data, func(q *filter.Question) {
		if strings.HasPrefix(q.Session.Value.(string), "no-data@") {
			q.Answer(filter.Reject(550, "5.7.1 no data from there"))
			return
		}
		go q.Answer(filter.Proceed) // any goroutine may
	})
	for _, phase := range []filter.Phase{filter.StartTLS, filter.Auth, filter.Rset, filter.Quit, filter.Noop} {
		f.On(phase, func(q *filter.Question) { q.Answer(filter.Proceed) })
	}
	f.OnMessage(func(m *filter.Message) {
		for line := range m.Lines() {
			if string(line) == "X-Refuse: yes" {
				m.Decide(filter.Reject(550, "5.7.1 refused for what it says"))
			}
			if bytes.HasPrefix(line, []byte("X-Drop:")) {
				continue
			}
			m.WriteLine(line)
			if bytes.HasPrefix(line, []byte("X-Double:")) {
				m.WriteLine(line)
			}
		}
	})
	return f
}

// whole is the same with a transaction function for what concerns messages.
func whole() *filter.Filter {
	return filter.Whole(func(tx *filter.Transaction) filter.Decision {
		lines := bytes.SplitAfter(tx.Message, []byte("\n"))
		tx.Message = nil
		for _, line := range lines {
			if bytes.HasPrefix(line, []byte("X-Drop:")) {
				continue
			}
			tx.Message = append(tx.Message, line...)
			if bytes.HasPrefix(line, []byte("X-Double:")) {
				tx.Message = append(tx.Message, line...)
			}
		}
		if tx.Header("x-refuse") == "yes" {
			return filter.Reject(550, "5.7.1 refused for what it says")
		}
		return filter.Proceed
	})
}

func TestTranscripts(t *testing.T) {
	for name, build := range map[string]func() *filter.Filter{"full": reference, "whole": whole} {
		for _, file := range transcript.Files(t, "../../..") {
			t.Run(name+"/"+filepath.Base(file), func(t *testing.T) {
				fromServer, in := io.Pipe()
				out, toServer := io.Pipe()
				done := serve(build, fromServer, toServer)
				transcript.Play(t, file, in, out)
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func serve(build func() *filter.Filter, r *io.PipeReader, w *io.PipeWriter) <-chan error {
	done := make(chan error, 1)
	go func() {
		err := build().Serve(r, w)
		r.CloseWithError(io.ErrClosedPipe)
		w.Close()
		done <- err
	}()
	return done
}
