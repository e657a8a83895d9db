package proxy

import (
	"crypto/tls"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// Package tls gives its farewell 5 s. To a peer that does not read it must not take as long as a write may: whoever ends a use waits for it.
func TestTheFarewellToWhoDoesNotReadIsShort(t *testing.T) {
	config := selfSigned(t)
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe() // which takes nothing that is not read
		defer there.Close()
		server := tls.Server(there, config)
		go func() { _ = server.Handshake() }()
		client := tls.Client(&impatient{Conn: here, limit: time.Minute}, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
		if err := client.Handshake(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		began := time.Now()
		_ = client.Close()
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}
