package vaultclient

import (
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/keybearer/keybearer/test/harness"
)

// hangUp is a way to Vault that closes a connection instead of passing on what comes next, once it is told to.
type hangUp struct {
	addr string
	next atomic.Bool
}

func startHangUp(t *testing.T, to string) *hangUp {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	h := &hangUp{addr: ln.Addr().String()}
	go func() {
		for {
			near, err := ln.Accept()
			if err != nil {
				return // the end of the test
			}
			go h.join(near, to)
		}
	}()
	return h
}

func (h *hangUp) join(near net.Conn, to string) {
	defer near.Close()
	far, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer far.Close()
	go func() { _, _ = io.Copy(near, far) }()
	buffer := make([]byte, 16<<10)
	for {
		n, err := near.Read(buffer)
		if err != nil || h.next.CompareAndSwap(true, false) {
			return
		}
		if _, err := far.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// A connection that Vault, or something on the way, has closed in the meantime costs nobody an answer; but what must not be done twice is not tried twice.
func TestABrokenConnectionIsNoOutage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, harness.VaultOptions{}, nil)
	way := startHangUp(t, w.Addr.String())
	config := w.config()
	config.Address = "http://" + way.addr
	c := newClient(t, config)
	reads(t, c)
	renew := Request{Method: http.MethodPut, Path: "auth/token/renew-self", Repeats: true}
	for range 20 {
		way.next.Store(true)
		if err := read(t.Context(), c); err != nil || way.next.Load() || !c.Away().IsZero() {
			t.Fatalf("%v; away since %v", err, c.Away())
		}
		way.next.Store(true)
		if _, err := c.Do(t.Context(), renew); err != nil || way.next.Load() || !c.Away().IsZero() {
			t.Fatalf("%v; away since %v", err, c.Away())
		}
	}
	way.next.Store(true)
	renew.Repeats = false
	if _, err := c.Do(t.Context(), renew); !Away(err) || way.next.Load() {
		t.Errorf("what may not be repeated: %v", err)
	}
}
