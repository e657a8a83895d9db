package caddymodule

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
)

// closer is something open.
type closer func() error

func (c closer) Close() error { return c() }

// What holds a lock until it has closed is not opened again before.
func TestNothingIsOpenedWhileItIsBeingClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pool
		held, release := false, make(chan struct{})
		open := func() (io.Closer, error) {
			if held {
				return nil, errors.New("in use")
			}
			held = true
			return closer(func() error { <-release; held = false; return nil }), nil
		}
		for range 2 {
			if _, err := p.take("store", open); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.give("store"); err != nil || !held || p.users("store") != 1 {
			t.Fatalf("closed with a user left: %v", err)
		}
		go func() { _ = p.give("store") }()
		synctest.Wait()
		taken := make(chan error)
		go func() { _, err := p.take("store", open); taken <- err }()
		synctest.Wait()
		close(release)
		if err := <-taken; err != nil || !held {
			t.Fatalf("taken while it was being closed: %v", err)
		}
		if err := p.give("store"); err != nil || len(p.keys()) > 0 {
			t.Fatal(err, p.keys())
		}
	})
}

// What could not be opened is not there, and the next one tries again.
func TestAFailureToOpenIsNotKept(t *testing.T) {
	var p pool
	full := errors.New("disk full")
	if _, err := p.take("store", func() (io.Closer, error) { return nil, full }); !errors.Is(err, full) {
		t.Fatal(err)
	}
	if keys := p.keys(); len(keys) > 0 {
		t.Errorf("kept %v", keys)
	}
	if _, err := p.take("store", func() (io.Closer, error) { return closer(func() error { return full }), nil }); err != nil {
		t.Fatal(err)
	}
	if err := p.give("store"); !errors.Is(err, full) {
		t.Errorf("the error of Close is lost: %v", err)
	}
}
