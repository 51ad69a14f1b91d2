package server

import (
	"crypto/tls"
	"fmt"

	"github.com/weirmail/weir/internal/config"
)

// tlsConfig gives the TLS settings of a listener, nil without TLS.
func tlsConfig(l *config.Listener) (*tls.Config, error) {
	if l.TLS == config.TLSNone {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12} // RFC 8996: nothing below
	for _, p := range l.PKI {
		pair, err := tls.LoadX509KeyPair(p.Cert, p.Key)
		if err != nil {
			return nil, fmt.Errorf("%s: pki %s: %w", p.Pos, p.Name, err)
		}
		c.Certificates = append(c.Certificates, pair)
	}
	return c, nil
}
