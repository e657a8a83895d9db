package caddymodule

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"testing"

	"github.com/quic-go/quic-go"
)

// tickets is a cache of TLS sessions that tells when one comes.
type tickets struct {
	tls.ClientSessionCache
	came chan struct{}
}

func (c *tickets) Put(key string, s *tls.ClientSessionState) {
	c.ClientSessionCache.Put(key, s)
	select {
	case c.came <- struct{}{}:
	default:
	}
}

// Whoever has seen the first bytes of a resumed session can send them again (RFC 8446 section 8): over HTTP/3 no request is taken from them.
func TestNoRequestIsTakenFromEarlyData(t *testing.T) {
	for _, directive := range []string{"keybearer", "keybearer_admin"} {
		t.Run(directive, func(t *testing.T) { noEarlyData(t, directive) })
	}
}

func noEarlyData(t *testing.T, directive string) {
	s := newStand(t)
	cert := s.certificate()
	port := freePort(t)
	s.mustLoad(basics, fmt.Sprintf("https://:%d {\nbind 127.0.0.1\ntls {$STAND}/tls.pem {$STAND}/tls.key\n%s\n}\n", port, directive))
	pool := x509.NewCertPool()
	pool.AddCert(cert.Leaf)
	cache := &tickets{tls.NewLRUClientSessionCache(1), make(chan struct{}, 1)}
	config := &tls.Config{RootCAs: pool, ServerName: "keybearer.internal", NextProtos: []string{"h3"}, ClientSessionCache: cache}
	dial := func() *quic.Conn {
		conn, err := quic.DialAddrEarly(t.Context(), fmt.Sprintf("127.0.0.1:%d", port), config, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.CloseWithError(0, "") })
		<-conn.HandshakeComplete()
		return conn
	}
	dial()
	<-cache.came
	if state := dial().ConnectionState(); !state.TLS.DidResume || state.Used0RTT {
		t.Errorf("resumed: %v, with early data: %v", state.TLS.DidResume, state.Used0RTT)
	}
}
