package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/trace"
)

// reportTimeout bounds the making of one report.
const reportTimeout = 5 * time.Minute

// reportRetry is how long envelopes wait whose failure could not be reported.
const reportRetry = 5 * time.Minute

// errNobody says that a report has no taker.
var errNobody = errors.New("nobody takes mail for the reverse-path")

// reportFailures returns mail to its sender: the envelopes leave the queue in
// the change that adds the report.
func (q *Queue) reportFailures(m *mail.Message, failed []recipient) {
	var told []recipient
	var silent []Claim
	for _, rc := range failed {
		if q.opt.Route != nil && q.wants(m, rc.env, mail.NotifyFailure) {
			told = append(told, rc)
			continue
		}
		q.log.Warn("envelope is dropped without report", "message", m.ID.String(), "envelope", rc.env.ID.String(),
			"from", m.Sender.String(), "to", rc.env.Rcpt.String(), "reason", rc.outcome.Text)
		silent = append(silent, Claim{rc.env.ID, rc.fence})
	}
	if len(silent) > 0 {
		q.record(Change{Done: silent})
	}
	if len(told) == 0 {
		return
	}
	c := Change{Done: claims(told)}
	q.report(m, told, actionFailed, c, func(err error) {
		if errors.Is(err, errNobody) {
			q.record(c)
			return
		}
		// The envelopes stay until the report can be made.
		var later Change
		for _, rc := range told {
			d := unchanged(rc.env, rc.fence)
			d.Next = q.opt.Now().Add(reportRetry)
			d.LastErr = fmt.Sprintf("%s (not reported yet: %v)", rc.outcome.Text, err)
			later.Defer = append(later.Defer, d)
		}
		q.record(later)
	}, q.reportFailures)
}

// reportDelay tells the sender that mail waits, in the change that makes it
// wait. If that cannot be told it is next time.
func (q *Queue) reportDelay(m *mail.Message, delayed []recipient) {
	if len(delayed) == 0 {
		return
	}
	var c, untold Change
	for _, rc := range delayed {
		c.Defer = append(c.Defer, rc.next)
		d := rc.next
		d.Warned = rc.env.Warned
		untold.Defer = append(untold.Defer, d)
	}
	if q.opt.Route == nil {
		q.record(c)
		return
	}
	q.report(m, delayed, actionDelayed, c, func(err error) {
		if errors.Is(err, errNobody) {
			q.record(c)
			return
		}
		q.record(untold)
	}, q.reportDelay)
}

// reportSuccess tells the sender that mail arrived. If that cannot be told it
// is not: to deliver again would be worse.
func (q *Queue) reportSuccess(m *mail.Message, delivered []recipient) {
	if len(delivered) == 0 {
		return
	}
	c := Change{Done: claims(delivered)}
	if q.opt.Route == nil {
		q.record(c)
		return
	}
	q.report(m, delivered, actionDelivered, c, func(error) { q.record(c) }, q.reportSuccess)
}

func claims(rcs []recipient) []Claim {
	cs := make([]Claim, len(rcs))
	for i, rc := range rcs {
		cs[i] = Claim{rc.env.ID, rc.fence}
	}
	return cs
}

// report makes a report on rcs and stores it together with c. If it cannot be
// made, fallback is called. If some of rcs are gone when it is to be stored,
// again is called with the others.
func (q *Queue) report(m *mail.Message, rcs []recipient, act action, c Change, fallback func(error), again func(*mail.Message, []recipient)) {
	ctx, cancel := context.WithTimeout(context.Background(), reportTimeout)
	defer cancel()
	spool, added, err := q.compose(ctx, m, rcs, act)
	if err != nil {
		q.log.Error("a delivery report cannot be sent", "message", m.ID.String(), "to", m.Sender.String(),
			"action", string(act), "error", err)
		fallback(err)
		return
	}
	en := q.admit(added)
	c.Add = []New{*added}
	rec := &record{change: c}
	rec.recorded = func() {
		q.begin(en, added.Lines, spool.keep(en))
		spool.Discard()
		q.pollFor(rec.change.Defer)
		for _, rc := range rcs {
			q.opt.Sink.Event(&trace.Event{
				Kind: trace.BounceSent, Time: q.opt.Now(), Message: added.Message.ID, Envelope: rc.env.ID,
				Addr: m.Sender, Size: added.Message.Size, Result: string(act),
			})
		}
	}
	rec.lost = func(lost map[mail.EnvelopeID]bool) {
		q.unadmit(en)
		spool.Discard()
		rest := rcs[:0:0]
		for _, rc := range rcs {
			if !lost[rc.env.ID] {
				rest = append(rest, rc)
			}
		}
		again(m, rest)
	}
	q.rec.add(rec)
}

// compose writes a report and routes it.
func (q *Queue) compose(ctx context.Context, m *mail.Message, rcs []recipient, act action) (*Spool, *New, error) {
	id, err := q.NewID()
	if err != nil {
		return nil, nil, err
	}
	// RFC 5321 s4.5.5, RFC 3461 s6.1: a report has the null reverse-path.
	report := &mail.Message{ID: id, Source: "local", Received: q.opt.Now(), UTF8: m.UTF8, EightBit: true}
	envs, err := q.opt.Route(ctx, report, m.Sender)
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("routing it: %w", err)
	case len(envs) == 0:
		return nil, nil, errNobody
	}
	for i := range envs {
		// RFC 3461 s5.2.1 and s6: nothing is told about a report.
		envs[i].ID, envs[i].Notify, envs[i].ORcpt = 0, mail.NotifyNever, ""
	}
	spool, err := q.Spool(id)
	if err != nil {
		return nil, nil, err
	}
	d := dsn{
		hostname: q.tuned.Load().Hostname, id: id, now: report.Received, action: act, msg: m, recipients: rcs,
		body: func() (io.ReadCloser, error) { return q.stored(ctx, m) },
	}
	if err := d.write(spool); err != nil {
		spool.Discard()
		return nil, nil, err
	}
	added, err := spool.seal(report, envs)
	if err != nil {
		spool.Discard()
		return nil, nil, err
	}
	return spool, added, nil
}
