package server

import (
	"crypto/tls"
	"fmt"
	"slices"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/privsep"
)

// tlsConfig gives the TLS settings of a listener, nil without TLS.
func (s *Server) tlsConfig(cfg *config.Config, l *config.Listener) (*tls.Config, error) {
	if l.TLS == config.TLSNone {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12} // RFC 8996: nothing below
	for _, p := range l.PKI {
		pair, err := s.certificate(cfg, p)
		if err != nil {
			return nil, fmt.Errorf("%s: pki %s: %w", p.Pos, p.Name, err)
		}
		c.Certificates = append(c.Certificates, pair)
	}
	return c, nil
}

// certificate gives a certificate of cfg. Its key is a signer's where we are to
// have none.
func (s *Server) certificate(cfg *config.Config, p *config.PKI) (tls.Certificate, error) {
	if s.opt.parent == nil {
		return tls.LoadX509KeyPair(p.Cert, p.Key)
	}
	g := s.opt.parent.of(cfg)
	return privsep.Certificate(g.signer, slices.Index(keyNames(cfg), p.Name), g.snap.Certs[p.Cert])
}
