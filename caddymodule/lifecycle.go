package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
)

// Start opens the parts, or takes those that are open already, and then the admin socket.
func (a *App) Start() error {
	err := a.start()
	a.lease.start(err == nil)
	return explain(err)
}

func (a *App) start() error {
	e, err := take(&a.held, a.engineKey(), func() (*engine, error) { return openEngine(a) })
	if err != nil {
		return err
	}
	a.engine = e
	for _, h := range a.handlers {
		handler, err := e.proxy.Handler(h.route)
		if err != nil {
			return err
		}
		a.held.add(handler.Close) // its tunnels end with the configuration
		a.proxies = append(a.proxies, handler)
		h.next = handler
	}
	api := admin.Config{Custody: e.core.custody, Probe: a.probe, Logger: logs.logger()}
	if log := a.readAudit(e.core); log != nil {
		api.Audit = log
	}
	api.Authenticate = admin.Tokens(e.core.custody)
	register, err := a.register()
	if err != nil {
		return err
	}
	for _, h := range a.admins {
		if h.next, err = a.openConsole(h, register, admin.New(api)); err != nil {
			return err
		}
	}
	if a.AdminSocket != "off" {
		api.Authenticate, api.SetUp = admin.Peers(peer), a.setUp(register)
		local := &served{a, admin.New(api)}
		a.socket, err = openAdminSocket(a.AdminSocket, e.health.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_ = local.ServeHTTP(w, r, nil)
		})), a.lease, a.logger)
		if err != nil {
			return fmt.Errorf("admin_socket: %w", err)
		}
	}
	logs.change(a.logger)
	muteQuotes()
	return nil
}

// Stop ends the admin socket. Requests to the handlers go on until the HTTP server has drained.
func (a *App) Stop() error {
	if a.socket != nil {
		a.socket.close()
	}
	return nil
}

// arrival is told when all of a configuration has started. Not before it takes connections: one that fails to start would
// take some from the configuration that goes on, and lose what is asked on them.
type arrival struct{ app *App }

// Handle implements [caddyevents.Handler].
func (a arrival) Handle(context.Context, caddy.Event) error {
	a.app.lease.arrive()
	a.app.announce()
	return nil
}

// announce says in the log where the configuration serves, and what it rests on.
func (a *App) announce() {
	apps, operators := []string{}, []string{}
	add := func(to *[]string, address string) {
		if address == "" {
			address = "a unix socket"
		}
		if !slices.Contains(*to, address) {
			*to = append(*to, address)
		}
	}
	for _, h := range a.handlers {
		add(&apps, h.address)
	}
	for _, h := range a.admins {
		add(&operators, h.base)
	}
	if len(apps)+len(operators) == 0 {
		a.logger.Warn("no site has the directive keybearer: apps cannot reach this server; docs/caddyfile.md has one to start from")
	}
	a.logger.Info("serving", "apps", apps, "operators", operators, "admin_socket", a.AdminSocket,
		"store", a.store.CaddyModule().ID.Name(), "keyring", a.keyring.CaddyModule().ID.Name())
}

// On a reload clients move to the new configuration before the old HTTP server is stopped: requests that reach that one then, on connections
// from before, are lost (net/http). It is stopped when none has come for so long, or after ten times that.
var moving = 500 * time.Millisecond

// looks are taken in that time. Silence is counted in them, and not by the clock: a process that was held up has not heard what came meanwhile.
const looks = 10

// departure is told when a configuration is about to stop, while the next one serves already.
type departure struct{ app *App }

// Handle implements [caddyevents.Handler]. The configuration takes no new connections any more, and has clients told, answer by
// answer, to come back on others.
func (d departure) Handle(context.Context, caddy.Event) error {
	d.app.lease.leave()
	for _, p := range d.app.proxies {
		p.Leave()
	}
	if caddy.Exiting() {
		return nil
	}
	for all, quiet := 0, 0; quiet < looks && all < 10*looks; all++ {
		time.Sleep(moving / looks)
		if quiet++; !d.app.lease.quiet() {
			quiet = 0
		}
	}
	return nil
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
