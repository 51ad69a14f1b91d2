package queue

import (
	"context"
	"io"
	"strings"

	"github.com/weirmail/weir/internal/mail"
)

// junkMark goes on top of a message that filters called junk when its header
// had been written already; otherwise the session has put it there.
const junkMark = "X-Spam: Yes\n"

// body gives the body of m, as it is delivered. open gives it as it is stored.
func body(m *mail.Message, open func() (io.ReadCloser, error)) (io.ReadCloser, error) {
	r, err := open()
	if err != nil || !m.Junk {
		return r, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(strings.NewReader(junkMark), r), r}, nil
}

// stored gives the body of m from the store, as it is delivered.
func (q *Queue) stored(ctx context.Context, m *mail.Message) (io.ReadCloser, error) {
	return body(m, func() (io.ReadCloser, error) { return q.st.Open(ctx, m.ID) })
}
