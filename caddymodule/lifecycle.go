package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/keybearer/keybearer"
)

// Start opens the parts, or takes those that are open already, and then the admin socket.
func (a *App) Start() error {
	err := a.start()
	a.lease.start(err == nil)
	if err == nil {
		succeed(a)
	}
	return explain(err)
}

func (a *App) start() error {
	e, err := take(&a.held, a.engineKey(), func() (*engine, error) { return openEngine(a) })
	if err != nil {
		return err
	}
	a.engine = e
	for _, h := range a.handlers {
		if h.next, err = e.proxy.Handler(h.route); err != nil {
			return err
		}
	}
	for _, h := range a.admins {
		h.next = e.core.admin
	}
	if a.AdminSocket != "off" {
		admin := &served{a, e.core.admin}
		a.socket, err = openAdminSocket(context.Background(), a.AdminSocket, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_ = admin.ServeHTTP(w, r, nil)
		}), a.logger)
		if err != nil {
			return fmt.Errorf("admin_socket: %w", err)
		}
	}
	logs.change(a.logger)
	return nil
}

// Stop ends the admin socket. Requests to the handlers go on until the HTTP server has drained.
func (a *App) Stop() error {
	if a.socket != nil {
		a.socket.close()
	}
	return nil
}

// moving is how long apps have, on a reload, to move to new connections. When Caddy stops the old HTTP server it closes its idle
// connections at once, and a request that is on its way on one of them is lost.
var moving = 500 * time.Millisecond

// current is the app that started last. Caddy changes configurations one at a time.
var current *App

// succeed makes a the current app, and has the one before tell its clients, answer by answer, to come back on new connections.
func succeed(a *App) {
	a.before, current = current, a
	if a.before != nil {
		a.before.lease.leaving.Store(true)
		time.Sleep(moving)
	}
}

// recede undoes succeed when another app of the configuration fails to start, and forgets what is gone.
func recede(a *App) {
	switch {
	case current == a && a.before != nil:
		current = a.before
		current.lease.leaving.Store(false)
	case current == a:
		current = nil
	case current != nil && current.before == a:
		current.before = nil
	}
	a.before = nil
}

// linger is how long an old configuration keeps its parts at least: requests still arrive on connections that were accepted before a
// reload, and net/http waits up to 5 seconds for the first one.
var linger = 10 * time.Second

// lastCall is how long requests may hold up the end of the process, once the HTTP server has drained.
const lastCall = 2 * time.Second

// retired are old configurations whose parts wait for their last request.
var retired struct {
	sync.WaitGroup
	once    sync.Once
	exiting chan struct{}
}

func init() { retired.exiting = make(chan struct{}) }

// Cleanup gives the parts back when the last request is done with them; when the process ends, before it returns. It touches
// nothing that another configuration holds.
func (a *App) Cleanup() error {
	if a.socket != nil {
		a.socket.close() // where another app failed to start, Stop was not called
	}
	recede(a)
	if len(a.held) > 0 {
		retired.Go(a.retire)
	}
	if caddy.Exiting() {
		retired.once.Do(func() { close(retired.exiting) })
		done := make(chan struct{})
		go func() {
			retired.Wait()
			close(done)
		}()
		select {
		case <-done:
		case <-time.After(lastCall): // what is open survives a crash
		}
	}
	return nil
}

func (a *App) retire() {
	select {
	case <-time.After(linger):
	case <-retired.exiting:
	}
	a.lease.end()
	if err := a.held.Close(); err != nil {
		a.logger.Error("closing an old configuration", "error", err)
	}
}

// explain adds the hint of an error of ours: whoever sees it in a terminal has nothing but the text.
func explain(err error) error {
	if e, ok := errors.AsType[*keybearer.Error](err); ok && e.Hint != "" {
		return fmt.Errorf("%w: %s", err, e.Hint)
	}
	return err
}

// Interface guards.
var (
	_ caddy.App             = (*App)(nil)
	_ caddy.Provisioner     = (*App)(nil)
	_ caddy.CleanerUpper    = (*App)(nil)
	_ caddyfile.Unmarshaler = (*App)(nil)
)
