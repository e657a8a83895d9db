package caddymodule

import (
	"context"
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
