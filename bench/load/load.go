// Package load is a client of SMTP servers that makes work for them: mails from
// many sessions, sessions without mail, one command again and again, sessions
// that do nothing.
//
// It talks to loopback addresses only, and every Job has an end. It does not
// pipeline: what a client waits for is part of what is measured.
package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/weirmail/weir/bench/measure"
)

// The kinds of work.
const (
	Mail    = "mail"    // sessions with transactions
	Connect = "connect" // connect, EHLO, QUIT
	Command = "command" // one session at a time, one command again and again
	Idle    = "idle"    // sessions that stay after EHLO
)

// Job is what is to be done. A Job ends after Total, or begins nothing more
// after Seconds, whichever is first.
type Job struct {
	Kind     string
	Addr     string
	Sessions int           // at once; for Idle, how many stay
	Total    int           // transactions, sessions or commands; at least 1
	Seconds  float64       // 0: until Total
	Timeout  time.Duration // for each reply; 30 s if zero
	Dialing  int           // connections between connect and banner at once; 4 if zero
	Sources  int           // addresses of 127.0.0.0/8 to come from; the system's choice if zero
	TLS      bool          // STARTTLS after the first EHLO

	PerSession int    // Mail, Command: so many, then a new session; 0: no end
	Size       int    // Mail: bytes of a message
	Recipients int    // Mail: of each message; 1 if zero
	Gather     bool   // Mail: all sessions are there before the first begins
	Tag        string // Mail: part of each Message-ID, to tell runs apart
	Verb       string // Command: the line; a MAIL is followed by an RSET, which is not timed
}

// Result is what was done, as seen by the client.
type Result struct {
	Done    int            // replies of 250 to a final dot, sessions, commands, sessions that stay
	Errors  int            // sessions that ended otherwise
	Kinds   map[string]int // the errors, by their text
	Seconds float64
	Bytes   float64
	Begin   float64 // in seconds since 1970
	End     float64
	Each    measure.Dist // a transaction from MAIL to the last reply, a command; for Connect a session
}

// Run does a job. For Idle the sessions stay until ctx is done; held is called
// when they are there.
func Run(ctx context.Context, j Job, held func(Result)) (Result, error) {
	host, _, err := net.SplitHostPort(j.Addr)
	if err != nil {
		return Result{}, err
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return Result{}, fmt.Errorf("%s is not a loopback address", j.Addr)
	}
	if j.Total < 1 || j.Sessions < 1 {
		return Result{}, errors.New("a job needs a number of sessions and an end")
	}
	j.defaults()
	w := &worker{Job: j, ctx: ctx, dialing: make(chan struct{}, j.Dialing), begin: time.Now()}
	switch j.Kind {
	case Mail:
		w.mail()
	case Connect:
		w.each(w.connect)
	case Command:
		w.each(w.command)
	case Idle:
		return w.idle(held), nil
	default:
		return Result{}, fmt.Errorf("no such job: %q", j.Kind)
	}
	return w.result(), nil
}

func (j *Job) defaults() {
	if j.Timeout == 0 {
		j.Timeout = 30 * time.Second
	}
	if j.Dialing < 1 {
		j.Dialing = 4
	}
	if j.Recipients < 1 {
		j.Recipients = 1
	}
}

// worker is a job that runs.
type worker struct {
	Job
	ctx     context.Context
	dialing chan struct{}

	mu     sync.Mutex
	begin  time.Time
	taken  int
	opened int
	all    []time.Duration
	bytes  float64
	errs   int
	kinds  map[string]int
}

// maxFailures is how often one client fails before it gives up.
const maxFailures = 50

// take gives the number of the next piece of work, from 1 on, or 0 if none is
// to be begun any more.
func (w *worker) take() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	late := w.Seconds > 0 && time.Since(w.begin).Seconds() > w.Seconds
	if late || w.taken >= w.Total || w.ctx.Err() != nil {
		return 0
	}
	w.taken++
	return w.taken
}

// failed counts an error; few different ones are kept.
func (w *worker) failed(err error) {
	text := err.Error()
	if i := strings.Index(text, "->"); i >= 0 {
		text = text[i:] // without the client's port
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.errs++
	if w.kinds == nil {
		w.kinds = make(map[string]int)
	}
	if len(w.kinds) < 8 || w.kinds[text] > 0 {
		w.kinds[text]++
	}
}

func (w *worker) done(all []time.Duration, bytes int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, all...)
	w.bytes += float64(bytes)
}

func (w *worker) result() Result {
	w.mu.Lock()
	defer w.mu.Unlock()
	unix := func(t time.Time) float64 { return float64(t.UnixNano()) / 1e9 }
	end := time.Now()
	return Result{
		Done: len(w.all), Errors: w.errs, Kinds: w.kinds, Bytes: w.bytes,
		Seconds: end.Sub(w.begin).Seconds(), Begin: unix(w.begin), End: unix(end),
		Each: measure.Distribution(w.all),
	}
}

// each has Sessions clients do one thing until there is no more to do.
func (w *worker) each(do func() ([]time.Duration, error)) {
	var wg sync.WaitGroup
	for range w.Sessions {
		wg.Go(func() {
			for failures := 0; failures < maxFailures; {
				if w.ctx.Err() != nil {
					return
				}
				all, err := do()
				w.done(all, 0)
				if err != nil {
					w.failed(err)
					failures++
				} else if len(all) == 0 {
					return
				}
			}
		})
	}
	wg.Wait()
}

// connect is one session without mail.
func (w *worker) connect() ([]time.Duration, error) {
	if w.take() == 0 {
		return nil, nil
	}
	begin := time.Now()
	c, err := w.open()
	if err != nil {
		return nil, err
	}
	if err := c.quit(); err != nil {
		return nil, err
	}
	return []time.Duration{time.Since(begin)}, nil
}

// command is one session in which one command is timed.
func (w *worker) command() ([]time.Duration, error) {
	n := w.take()
	if n == 0 {
		return nil, nil
	}
	c, err := w.open()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	var all []time.Duration
	for ; n != 0; n = w.take() {
		begin := time.Now()
		if err := c.say(w.Verb, '2'); err != nil {
			return all, err
		}
		all = append(all, time.Since(begin))
		if strings.HasPrefix(w.Verb, "MAIL") {
			if err := c.say("RSET", '2'); err != nil {
				return all, err
			}
		}
		if len(all) == w.PerSession {
			break
		}
	}
	return all, c.quit()
}

// idle opens sessions and keeps them.
func (w *worker) idle(held func(Result)) Result {
	var mu sync.Mutex
	var open []*client
	w.Total = w.Sessions
	stay := w.Sessions
	w.Sessions = w.Dialing
	w.each(func() ([]time.Duration, error) {
		if w.take() == 0 {
			return nil, nil
		}
		begin := time.Now()
		c, err := w.open()
		if err != nil {
			return nil, err
		}
		mu.Lock()
		open = append(open, c)
		mu.Unlock()
		return []time.Duration{time.Since(begin)}, nil
	})
	r := w.result()
	if r.Done < stay && r.Errors == 0 {
		r.Errors = stay - r.Done
	}
	held(r)
	<-w.ctx.Done()
	for _, c := range open {
		c.Close()
	}
	return r
}
