package session

import (
	"math/rand/v2"

	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/smtp"
	"github.com/weirmail/weir/internal/trace"
)

// Transaction is one mail transaction: from an accepted MAIL to its commit or
// rollback. RSET ends it; nothing of it is cleared and used again.
type Transaction struct {
	id        mail.MessageID
	sender    mail.Address
	params    smtp.MailParams
	rcpts     []mail.Address // accepted forward-paths
	notify    mail.Notify    // NOTIFY of all of them
	envelopes []mail.Envelope
	envBase   uint32   // where envelope ids of this message begin
	junk      bool     // a filter marked this message
	junkLate  bool     // it did so at commit, when the header had been written
	hold      string   // why it is to wait in the queue, "" if it need not
	message   *message // its body, once that has begun
	spoiled   bool     // a chunk was refused, and with it those that follow up to the last
	end       ending
}

// ending says how far the end of a transaction has come.
type ending uint8

const (
	notEnded  ending = iota
	failed           // the reply just made refuses the message; rollback follows
	committed        // the message is in the queue; the reply just made says so
)

// newTransaction begins a transaction of sender.
func newTransaction(id mail.MessageID, sender mail.Address, p smtp.MailParams) *Transaction {
	return &Transaction{id: id, sender: sender, params: p, envBase: rand.Uint32()}
}

// envelopeStep spreads envelope ids; being odd it visits every 32-bit number
// once, so that ids of one message never meet.
const envelopeStep = 0x9e3779b1

// add takes the envelopes of an accepted recipient in and gives them ids.
func (tx *Transaction) add(rcpt mail.Address, envelopes []mail.Envelope, p smtp.RcptParams) []mail.Envelope {
	tx.rcpts = append(tx.rcpts, rcpt)
	tx.notify |= p.Notify
	first := len(tx.envelopes)
	for i := range envelopes {
		e := &envelopes[i]
		e.ID = mail.NewEnvelopeID(tx.id, tx.envBase+uint32(first+i)*envelopeStep)
		e.Notify, e.ORcpt = p.Notify, p.ORcpt
	}
	tx.envelopes = append(tx.envelopes, envelopes...)
	return tx.envelopes[first:]
}

// rollback ends the transaction, if there is one, without a message.
func (s *Session) rollback() {
	tx := s.tx
	if tx == nil {
		return
	}
	if tx.message != nil {
		tx.message.abort()
	}
	s.emitTx(trace.TxRollback, tx.id)
	s.leaveTx()
}

// leaveTx forgets the transaction after its commit or rollback.
func (s *Session) leaveTx() {
	s.emitTx(trace.TxReset, s.tx.id)
	s.tx = nil
	s.facts.MailFrom, s.facts.HasMail = mail.Address{}, false
	s.facts.RcptTo, s.facts.HasRcpt, s.facts.Accepted = mail.Address{}, false, nil
	if s.state == stateTx || s.state == stateBody {
		s.enter(stateIdentified)
	}
}

// afterData tells how DATA, and the message after it, went.
func (s *Session) afterData(r smtp.Reply) {
	tx := s.tx
	if tx == nil || len(tx.rcpts) == 0 {
		return
	}
	switch {
	case tx.end == committed:
		s.tell(trace.Event{Kind: trace.TxCommit, Message: tx.id, Size: tx.message.spool.Size()})
		s.leaveTx()
		s.mails++
		s.errs = 0
		return
	case r.Code()/100 != 2:
		s.tell(trace.Event{Kind: trace.TxData, Message: tx.id, Result: result(r)})
	}
	if tx.end == failed {
		s.rollback()
	}
}
