package session

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/smtp"
	"github.com/weirmail/weir/internal/trace"
)

const tlsImplicit = config.TLSImplicit

// handshakeTimeout bounds a TLS handshake, which a client could otherwise
// draw out at the cost of our buffers.
const handshakeTimeout = 30 * time.Second

// offersTLS reports whether EHLO lists STARTTLS now.
func (s *Session) offersTLS() bool {
	return s.tls == nil && (s.opt.TLS == config.TLSOffer || s.opt.TLS == config.TLSRequire)
}

func (s *Session) checkStartTLS(req *request) smtp.Reply {
	switch {
	case s.opt.TLS != config.TLSOffer && s.opt.TLS != config.TLSRequire:
		return replyNotSupported
	case s.tls != nil:
		return replyTLSActive
	case req.hasArgs:
		return replyTLSNoArgs
	}
	return smtp.Reply{}
}

func (s *Session) proceedStartTLS(*request) smtp.Reply {
	s.enter(stateTLS)
	return replyReadyTLS
}

// startTLS does the handshake that 220 promised and forgets what the client
// said before it (RFC 3207 s4.2).
func (s *Session) startTLS() {
	if s.in.reader.Buffered() > 0 || !s.handshake() {
		s.enter(stateQuit)
		return
	}
	s.helo, s.facts.Helo, s.esmtp = "", "", false
	s.enter(stateConnected)
}

// handshake wraps the connection; false if that failed.
func (s *Session) handshake() bool {
	s.flush()
	ctx, cancel := context.WithTimeout(s.ctx, handshakeTimeout)
	defer cancel()
	conn := tls.Server(s.conn, s.opt.TLSConfig)
	s.conn.SetReadDeadline(time.Now().Add(handshakeTimeout))
	if s.stopping.Load() {
		return false // Interrupt may have come before the deadline above
	}
	if err := conn.HandshakeContext(ctx); err != nil {
		s.opt.Log.Info("tls handshake failed", "session", s.id.String(), "source", s.source(), "error", err)
		return false
	}
	s.tls = conn
	s.secured.Store(true)
	s.in.secure(conn)
	s.typed = nil
	s.out.w = conn
	s.facts.TLS = true
	s.tell(trace.Event{Kind: trace.LinkTLS, Text: tlsText(conn.ConnectionState())})
	return true
}

// tlsText gives "version:cipher:bits", as OpenSMTPD writes it.
func tlsText(cs tls.ConnectionState) string {
	version := "TLSv1.3"
	if cs.Version == tls.VersionTLS12 {
		version = "TLSv1.2"
	}
	return fmt.Sprintf("%s:%s:%d", version, tls.CipherSuiteName(cs.CipherSuite), cipherBits(cs.CipherSuite))
}

// cipherBits gives the length of a suite's symmetric key in bits.
func cipherBits(suite uint16) int {
	switch suite {
	case tls.TLS_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA:
		return 128
	}
	return 256
}
