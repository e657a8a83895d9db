package proxy

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/dial"
	"github.com/keybearer/keybearer/internal/metrics"
	"github.com/keybearer/keybearer/internal/revocation"
	"github.com/keybearer/keybearer/policy"
)

// Config of a Proxy. Store, Keyring, Auditor, Identities and Dialer are required; the Proxy closes none of them. Zero durations
// mean the defaults given.
type Config struct {
	Store      keybearer.Store
	Keyring    keybearer.Keyring
	Auditor    keybearer.Auditor
	Identities []keybearer.Identity
	Users      keybearer.ActingUsers // who proves acting users; nil: every assertion of one is refused
	Dialer     *dial.Dialer
	Trusted    func() error      // whether the store's records may be relied on, asked for each request; nil: always
	Roots      *x509.CertPool    // that destinations are verified with; nil: the system's
	Revoked    *revocation.Lists // of destinations' certificates; nil: none. The Proxy does not close it
	Meter      *metrics.Meter    // counts requests and the times they take; nil: nobody does

	SecretTTL       time.Duration // an opened secret serves so long without asking the keyring; 5 min
	KeyringMaxStale time.Duration // and so long while the keyring cannot answer; negative: not at all; 15 min
	StoreMaxStale   time.Duration // metadata serves so long without asking the store; 1 min

	Limits                 keybearer.Limits // of a caller that has none of its own; zero fields: no limit of rate, 10,000 under way at a time
	DestinationConcurrency int              // requests under way at a time to one host and port for one scope; negative: no limit; 8,000

	TLSTimeout    time.Duration // TLS handshake with a destination; 10 s
	HeaderTimeout time.Duration // from the request's last byte to the answer's header; 60 s
	IdleTimeout   time.Duration // an idle connection to a destination is kept so long; 90 s

	Peer   func(*http.Request) *keybearer.PeerCredentials // of the connection; nil: none has any
	Now    func() time.Time                               // nil: time.Now
	Logger *slog.Logger                                   // nil: slog.Default

	// How long a destination, or an app in a tunnel, may take nothing of what is sent to it, and an app in a tunnel give nothing of a body. A
	// minute but in the tests; outside of tunnels the frame counts the app's time.
	stall time.Duration
}

// Proxy forwards requests. It is safe for concurrent use.
type Proxy struct {
	gate       *Gate
	transports *transports
	peer       func(*http.Request) *keybearer.PeerCredentials
	logger     *slog.Logger
	stall      time.Duration

	quit chan struct{}
	done sync.WaitGroup

	mu       sync.Mutex
	handlers map[*Handler]struct{} // not closed yet
}

// New returns a Proxy. It follows changes of the store until Close.
func New(c Config) (*Proxy, error) {
	if c.Store == nil || c.Keyring == nil || c.Auditor == nil || c.Dialer == nil || len(c.Identities) == 0 {
		return nil, keybearer.NewError(keybearer.Internal, "the proxy lacks a part")
	}
	defaults := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	defaults(&c.SecretTTL, 5*time.Minute)
	defaults(&c.KeyringMaxStale, 15*time.Minute)
	defaults(&c.StoreMaxStale, time.Minute)
	c.Limits = c.Limits.Over(keybearer.Limits{Rate: keybearer.Unlimited, Concurrency: 10_000})
	c.DestinationConcurrency = cmp.Or(c.DestinationConcurrency, 8_000)
	defaults(&c.TLSTimeout, 10*time.Second)
	defaults(&c.HeaderTimeout, time.Minute)
	defaults(&c.IdleTimeout, 90*time.Second)
	defaults(&c.stall, time.Minute)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Peer == nil {
		c.Peer = func(*http.Request) *keybearer.PeerCredentials { return nil }
	}
	p := &Proxy{
		gate:       newGate(&c),
		transports: &transports{dialer: c.Dialer, roots: c.Roots, c: &c, pools: map[poolKey]*http.Transport{}},
		peer:       c.Peer,
		logger:     c.Logger,
		stall:      c.stall,
		quit:       make(chan struct{}),
		handlers:   map[*Handler]struct{}{},
	}
	p.done.Go(func() { p.sweep(c.SecretTTL, c.StoreMaxStale) })
	p.done.Go(func() { p.gate.watch(p.quit) })
	return p, nil
}

// Gate returns the decision point, for other wire engines.
func (p *Proxy) Gate() *Gate { return p.gate }

// Handler returns the engine on net/http for one route. It is an Invalid error when the route is half fixed or its destination is
// not canonical.
func (p *Proxy) Handler(r Route) (*Handler, error) {
	if (r.Destination == "") != (r.Credential == keybearer.Ref{}) {
		return nil, keybearer.NewError(keybearer.Invalid, "a route fixes both credential and destination, or neither")
	}
	if r.Destination != "" {
		if _, err := policy.ParseOrigin(r.Destination, "/"); err != nil {
			return nil, err
		}
		if _, err := keybearer.ParseRef(r.Credential.String()); err != nil {
			return nil, err
		}
	}
	h := &Handler{proxy: p, route: &r, tunnels: &tunnels{}}
	p.mu.Lock()
	p.handlers[h] = struct{}{}
	p.mu.Unlock()
	return h, nil
}

// How long requests inside tunnels may go on after Close has been called.
const drainTime = 10 * time.Second

// Close closes all handlers, ends idle connections, and stops following the store. Requests under way outside tunnels are not touched: the
// server that runs them drains them before.
func (p *Proxy) Close() error {
	p.mu.Lock()
	handlers := slices.Collect(maps.Keys(p.handlers))
	p.mu.Unlock()
	var closing sync.WaitGroup
	for _, h := range handlers {
		closing.Go(func() { _ = h.Close() })
	}
	closing.Wait()
	p.gate.stop()
	close(p.quit)
	p.done.Wait()
	p.transports.close()
	return nil
}

// sweep lets go of secrets that nobody uses any more.
func (p *Proxy) sweep(ttl, maxAge time.Duration) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			p.gate.snapshots.sweep(max(ttl, maxAge))
			p.gate.limits.sweep(p.gate.now())
		case <-p.quit:
			return
		}
	}
}

// logFailure notes for the operator why a use failed after it had been admitted. The caller got the code alone.
func (p *Proxy) logFailure(pass *Pass, err *keybearer.Error) {
	if err.Code == keybearer.CallerGone {
		return
	}
	p.logger.Warn("use failed", "request_id", pass.ID(), "code", string(err.Code), "detail", err.Detail, "cause", pass.Scrub(cause(err.Err)))
}

// cause words an error by what kind it is. Its text is used only where it was made before anything was sent: net/http quotes what
// a destination sent, and that can be the secret.
func cause(err error) string {
	if own, ok := errors.AsType[*keybearer.Error](err); ok {
		return strings.TrimSuffix(own.Message()+": "+cause(own.Err), ": ")
	}
	if bad, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return bad.Error()
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	switch {
	case err == nil:
		return ""
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed"
	case isTimeout(err):
		return "timeout"
	}
	for next := err; next != nil; next = errors.Unwrap(err) {
		err = next
	}
	return fmt.Sprintf("%T", err)
}

func connectionNames(h http.Header) map[string]bool {
	f := filter{}
	for _, v := range h["Connection"] {
		f.nominate([]Field{{"Connection", v}})
	}
	return f.nominated
}

func cutQuery(target string) (path, query string) {
	path, query, _ = strings.Cut(target, "?")
	return path, query
}
