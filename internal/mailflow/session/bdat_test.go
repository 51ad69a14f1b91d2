package session

import (
	"context"
	"strings"
	"testing"

	"github.com/weirmail/weir/internal/filterwire"
	"github.com/weirmail/weir/internal/mailflow/filter"
)

// TestBdatAfterRefusal: RFC 3030 s2: chunks that are on their way when one is
// refused are refused too, though the filters would take them by then. Else the
// message would be accepted without its beginning.
func TestBdatAfterRefusal(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"to the last", "BDAT 17\nSubject: a\n\nx\nBDAT 3\ny\nBDAT 3 LAST\nz\nQUIT\n", "451 503 503 221"},
		{"then a whole one", "BDAT 17\nSubject: a\n\nx\nBDAT 3 LAST\nz\nBDAT 17 LAST\nSubject: a\n\nx\nQUIT\n", "451 503 250 221"},
		{"until RSET", "BDAT 17\nSubject: a\n\nx\nRSET\n" + from + to + "BDAT 17 LAST\nSubject: a\n\nx\nQUIT\n", "451 250 250 250 250 221"},
		{"the last itself", "BDAT 17 LAST\nSubject: a\n\nx\nBDAT 17 LAST\nSubject: a\n\nx\nQUIT\n", "451 250 221"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench()
			asked := 0
			b.filters.ask = func(context.Context) {
				if strings.HasPrefix(b.filters.asked[len(b.filters.asked)-1], "data(") {
					asked++
				}
				delete(b.filters.answers, filterwire.Data)
				if asked == 1 {
					b.filters.answers[filterwire.Data] = filter.Verdict{Decision: filterwire.Reject, Param: "451 4.7.1 later", Filter: "f"}
				}
			}
			out := b.run(t, crlf(hello+from+to+tt.in))
			if got, want := codes(out), "220 250 250 250 "+tt.want; got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			for _, m := range b.queue.messages {
				if !strings.HasSuffix(m.body, "Subject: a\n\nx\n") {
					t.Errorf("accepted %q", m.body)
				}
			}
		})
	}
	t.Run("no recipient yet", func(t *testing.T) {
		b := newBench()
		out := b.run(t, crlf(hello+from+"BDAT 17\nSubject: a\n\nx\n"+to+"BDAT 3 LAST\nz\nQUIT\n"))
		if got, want := codes(out), "220 250 250 503 250 503 221"; got != want || len(b.queue.messages) != 0 {
			t.Errorf("got  %s, %d messages\nwant %s", got, len(b.queue.messages), want)
		}
	})
}
