package session

import "log/slog"

// state is where a session stands.
type state uint8

const (
	stateConnected  state = iota // banner sent, not greeted (or not again after STARTTLS)
	stateIdentified              // greeted, no transaction
	stateTx                      // in a mail transaction
	stateBody                    // reading the lines of a message
	stateTLS                     // 220 to STARTTLS sent, handshake next
	stateQuit                    // over
)

var stateNames = [...]string{"connected", "identified", "transaction", "body", "tls", "quit"}

// String gives the name that traces show.
func (st state) String() string { return stateNames[st] }

// states is a set of states.
type states uint8

const (
	inConnected  states = 1 << stateConnected
	inIdentified states = 1 << stateIdentified
	inTx         states = 1 << stateTx
	greeted             = inIdentified | inTx
	anywhere            = inConnected | greeted
)

func (set states) has(st state) bool { return set&(1<<st) != 0 }

// enter changes the state and traces it with both names.
func (s *Session) enter(next state) {
	if s.state == next {
		return
	}
	if s.opt.Log.Enabled(s.ctx, slog.LevelDebug) {
		s.opt.Log.Debug("state", "session", s.idString(), "from", s.state.String(), "to", next.String())
	}
	s.state = next
}
