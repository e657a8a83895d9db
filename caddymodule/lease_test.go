package caddymodule

import (
	"context"
	"net"
	"net/http"
	"runtime"
	"testing"
	"testing/synctest"
)

func TestLease(t *testing.T) {
	t.Run("waits for the start", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newLease()
			taken := make(chan bool, 1)
			go func() { taken <- l.take(t.Context()) }()
			synctest.Wait()
			select {
			case <-taken:
				t.Fatal("did not wait")
			default:
			}
			l.start(true)
			if !<-taken {
				t.Error("refused after the start")
			}
		})
	})
	t.Run("refuses when the start failed", func(t *testing.T) {
		l := newLease()
		l.start(false)
		if l.take(t.Context()) {
			t.Error("taken")
		}
	})
	t.Run("gives up with the request", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if newLease().take(ctx) {
			t.Error("taken")
		}
	})
	t.Run("ends after the last user, and takes no more", func(t *testing.T) {
		l := newLease()
		l.start(true)
		if !l.take(t.Context()) {
			t.Fatal("refused")
		}
		ended := make(chan struct{})
		go func() {
			l.end()
			close(ended)
		}()
		for l.take(t.Context()) { // until end waits
			l.release()
			runtime.Gosched()
		}
		select {
		case <-ended:
			t.Fatal("ended while in use")
		default:
		}
		l.release()
		<-ended
		if l.take(t.Context()) {
			t.Error("taken after the end")
		}
	})
}

// A configuration is quiet when nothing has come since the last look, and nobody is on the way to ask something.
func TestQuiet(t *testing.T) {
	l := newLease()
	l.start(true)
	conn, _ := net.Pipe()
	expect := func(what string, want bool) {
		t.Helper()
		if got := l.quiet(); got != want {
			t.Errorf("%s: quiet is %v", what, got)
		}
	}
	l.take(t.Context())
	l.leave()
	expect("a request before leaving", true)
	l.take(t.Context())
	expect("a request", false)
	expect("none since", true)
	l.watch(conn, http.StateNew)
	expect("a new connection", false)
	expect("still new", false)
	l.watch(conn, http.StateActive)
	expect("it asks", false)
	l.watch(conn, http.StateIdle)
	expect("it has been answered", true)
	l.watch(conn, http.StateNew)
	l.watch(conn, http.StateClosed)
	expect("another has come and gone", true)
}
