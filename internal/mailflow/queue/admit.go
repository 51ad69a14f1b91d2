package queue

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/weirmail/weir/internal/mail"
)

// entry is a new message on its way into the store: what will be attempted as
// soon as it is there. A nil entry is attempted when the poller finds it.
type entry struct {
	id    mail.MessageID
	items []*item
	byKey map[string]*item // items by destination, when they are many
	envs  int
}

// fewItems is how many are searched one by one; a map costs more. Without one
// a message for 10,000 hosts took 126 us for each of them instead of 68.
const fewItems = 8

// admit decides whether a new message is attempted right after its commit, or
// waits in the store because there is no room for it in memory.
func (q *Queue) admit(n *New) *entry {
	s := &q.sched
	now := q.opt.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running {
		return nil
	}
	en := &entry{id: n.Message.ID}
	room := true
	for i := range n.Envelopes {
		e := &n.Envelopes[i]
		if e.Held {
			continue
		}
		dest := q.d.Destination(e)
		if q.full(dest, fresh, now) {
			room = false
			if n.Lines == nil {
				n.Lines = make([]Line, len(n.Envelopes))
			}
			n.Lines[i] = q.lineOf(dest, n.Message, e, now)
		}
		en.add(dest, e)
	}
	if en.envs == 0 || !room || s.envs[fresh] > 0 && s.envs[fresh]+en.envs > maxReady[fresh] {
		return nil
	}
	s.envs[fresh] += en.envs
	n.Claimed = true
	en.own(n)
	return en
}

// add puts e with the others of its destination.
func (en *entry) add(dest string, e *mail.Envelope) {
	en.envs++
	it := en.find(dest)
	if it == nil {
		it = &item{dest: dest}
		en.items = append(en.items, it)
		if en.byKey != nil {
			en.byKey[dest] = it
		}
	}
	it.envs = append(it.envs, e)
	it.fences = append(it.fences, 1) // New.Claimed
}

// find gives the item for a destination, nil if there is none yet.
func (en *entry) find(dest string) *item {
	if len(en.items) > fewItems && en.byKey == nil {
		en.byKey = make(map[string]*item)
		for _, it := range en.items {
			en.byKey[it.dest] = it
		}
	}
	if en.byKey != nil {
		return en.byKey[dest]
	}
	for _, it := range en.items {
		if it.dest == dest {
			return it
		}
	}
	return nil
}

// own replaces what the caller of Commit may change afterwards by copies.
func (en *entry) own(n *New) {
	m := *n.Message
	r := &round{pending: len(en.items)}
	copies := make([]mail.Envelope, 0, en.envs)
	for _, it := range en.items {
		it.msg, it.round = &m, r
		for i, e := range it.envs {
			copies = append(copies, *e)
			it.envs[i] = &copies[len(copies)-1]
		}
	}
}

// unadmit gives back the room of a message that is not stored.
func (q *Queue) unadmit(en *entry) {
	if en == nil {
		return
	}
	q.sched.mu.Lock()
	q.sched.envs[fresh] -= en.envs
	q.sched.mu.Unlock()
}

// reject forgets a message that the store refused. If the store does not know
// whether it has the message, it is erased before anybody can attempt it.
func (q *Queue) reject(id mail.MessageID, en *entry, err error) {
	q.unadmit(en)
	if !errors.Is(err, ErrInDoubt) {
		return
	}
	q.log.Error("store does not know whether it has a message; it is erased", "message", id.String(), "error", err)
	s := &q.sched
	s.mu.Lock()
	s.doubt[id] = struct{}{}
	s.pollAt(q.opt.Now())
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), doubtTimeout)
	defer cancel()
	q.erase(ctx)
}

// doubtTimeout bounds how long a session waits for a doubtful message to be
// erased before it answers; the poller goes on trying.
const doubtTimeout = 5 * time.Second

// erase removes the messages in doubt from the store.
func (q *Queue) erase(ctx context.Context) {
	s := &q.sched
	s.mu.Lock()
	refs := make([]Ref, 0, len(s.doubt))
	for id := range s.doubt {
		refs = append(refs, Ref{Message: id})
	}
	s.mu.Unlock()
	if len(refs) == 0 {
		return
	}
	if _, err := q.st.Admin(ctx, OpRemove, refs, q.opt.Now()); err != nil {
		q.log.Error("messages in doubt cannot be erased yet", "count", len(refs), "error", err)
		return
	}
	s.mu.Lock()
	for _, r := range refs {
		delete(s.doubt, r.Message)
	}
	s.mu.Unlock()
}

// begin has a message attempted that is stored now. Without an entry it waits
// in the store, in lines or for the poller.
func (q *Queue) begin(en *entry, lines []Line, body *memBody) {
	s := &q.sched
	if body != nil {
		for _, it := range en.items {
			body.retain()
			it.body = body
		}
		body.release()
	}
	now := q.opt.Now()
	s.mu.Lock()
	if en == nil {
		for _, l := range lines {
			if l.Name != "" {
				q.joined(l, now)
			}
		}
		if lines == nil || slices.Contains(lines, Line{}) {
			s.pollAt(now)
		}
		s.mu.Unlock()
		return
	}
	stopped := !s.running
	if stopped {
		s.envs[fresh] -= en.envs
	} else {
		for _, it := range en.items {
			q.enqueue(it, now)
		}
		q.dispatch(now)
	}
	s.mu.Unlock()
	if stopped { // between the commit and now
		q.release(en.items)
	}
}

// release gives claims back, so that the envelopes wait in the store.
func (q *Queue) release(items []*item) {
	if len(items) == 0 {
		return
	}
	var c Change
	for _, it := range items {
		for i, e := range it.envs {
			c.Defer = append(c.Defer, unchanged(e, it.fences[i]))
		}
	}
	q.record(c)
	for _, it := range items {
		it.drop()
		q.endRound(it)
	}
}

// unchanged gives e back as it was.
func unchanged(e *mail.Envelope, fence uint64) Deferral {
	return Deferral{
		Claim: Claim{ID: e.ID, Fence: fence},
		Next:  e.Next, Attempts: e.Attempts, Warned: e.Warned, LastErr: e.LastErr,
	}
}

// drop gives up the body in memory.
func (it *item) drop() {
	if it.body != nil {
		it.body.release()
		it.body = nil
	}
}
