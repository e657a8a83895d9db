package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/dial"
	"github.com/keybearer/keybearer/internal/metrics"
	"github.com/keybearer/keybearer/internal/revocation"
	"github.com/keybearer/keybearer/policy"
)

// transports keeps connections apart: one pool, and one TLS session cache, for each scope, reach, and issue of what is known to be
// revoked. Trusted roots are the same for all of a Proxy's life.
type transports struct {
	dialer *dial.Dialer
	roots  *x509.CertPool
	c      *Config

	mu    sync.RWMutex
	pools map[poolKey]*http.Transport
}

type poolKey struct {
	scope string
	reach policy.Reach
	issue uint64 // of the revocation lists that its connections were judged by
}

// Idle connections kept for a destination: fewer than are in use at a time would mean handshakes in the tail.
const maxIdlePerHost, maxIdle = 512, 4096

func (t *transports) get(scope string, reach policy.Reach) *http.Transport {
	key := poolKey{scope, reach, t.c.Revoked.Issue()}
	t.mu.RLock()
	tr := t.pools[key]
	t.mu.RUnlock()
	if tr != nil {
		return tr
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if tr = t.pools[key]; tr != nil {
		return tr
	}
	for old, tr := range t.pools {
		if old.issue < key.issue {
			delete(t.pools, old)
			tr.CloseIdleConnections() // the others are closed when they have been idle for long enough
		}
	}
	tr = t.open()
	t.pools[key] = tr
	return tr
}

func (t *transports) open() *http.Transport {
	return &http.Transport{
		Proxy:              nil, // never the environment's
		DisableCompression: true,
		ForceAttemptHTTP2:  true,
		DialContext:        t.dial,
		TLSClientConfig: &tls.Config{
			RootCAs:            t.roots,
			MinVersion:         tls.VersionTLS12,
			ClientSessionCache: new(sessions),
			VerifyConnection:   t.c.Revoked.VerifyConnection, // of resumed sessions too
		},
		TLSHandshakeTimeout:    t.c.TLSTimeout,
		ResponseHeaderTimeout:  t.c.HeaderTimeout,
		IdleConnTimeout:        t.c.IdleTimeout,
		MaxIdleConnsPerHost:    maxIdlePerHost,
		MaxIdleConns:           maxIdle,
		MaxResponseHeaderBytes: 256 << 10,
		ReadBufferSize:         16 << 10,
		WriteBufferSize:        16 << 10,
		HTTP2: &http.HTTP2Config{
			SendPingTimeout: 15 * time.Second,
			PingTimeout:     10 * time.Second,
		},
	}
}

func (t *transports) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, tr := range t.pools {
		tr.CloseIdleConnections()
	}
}

// dialKey carries the judged addresses to the dialer: [http.Transport] offers no other way.
type dialKey struct{}

type dialTarget struct {
	destination policy.Destination
	addresses   dial.Addresses
	dialed      atomic.Pointer[interval] // how long the connection took that was made for it; nil: none was
}

func (t *transports) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	target, ok := ctx.Value(dialKey{}).(*dialTarget)
	if !ok || addr != keybearer.JoinHost("", target.destination.Host, target.destination.Port) {
		return nil, keybearer.NewError(keybearer.DestinationUnreachable, "the address to dial is not the one that was judged")
	}
	began := time.Now()
	conn, err := t.dialer.Connect(ctx, target.addresses, target.destination.Port)
	took := interval{began, time.Since(began)}
	t.c.Meter.Observe(metrics.Dial, took.took, metrics.Exemplar{})
	target.dialed.Store(&took)
	if err != nil {
		return nil, err
	}
	return &impatient{Conn: conn, limit: t.c.stall}, nil
}

// impatient is a connection on which each write has a limit: a peer that does not read would hold the request, and who waits for it,
// for ever. While a deadline is set, as package tls does for its farewell, that holds instead.
type impatient struct {
	net.Conn
	limit time.Duration
	told  atomic.Bool // of a deadline
}

func (c *impatient) Write(b []byte) (int, error) {
	if !c.told.Load() {
		if err := c.Conn.SetWriteDeadline(time.Now().Add(c.limit)); err != nil {
			return 0, err
		}
	}
	return c.Conn.Write(b)
}

func (c *impatient) SetWriteDeadline(t time.Time) error {
	c.told.Store(!t.IsZero())
	return c.Conn.SetWriteDeadline(t)
}

func (c *impatient) SetDeadline(t time.Time) error {
	c.told.Store(!t.IsZero())
	return c.Conn.SetDeadline(t)
}

// CloseWrite lets what was written arrive, and no more follow.
func (c *impatient) CloseWrite() error { return closeWrite(c.Conn) }

// send forwards with the secret. The header is a private map that nothing else sees; the secret is written into it here, last.
func (t *transports) send(ctx context.Context, p *Pass, method string, header http.Header, b *body) (*http.Response, *keybearer.Error) {
	d := &p.Destination
	target := &dialTarget{destination: *d, addresses: p.Addresses}
	ctx = context.WithValue(ctx, dialKey{}, target)
	out := &http.Request{
		Method: method,
		URL:    targetURL(d, p.Target),
		Host:   keybearer.JoinHost(d.Scheme, d.Host, d.Port),
		Header: header,
		Proto:  "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	b.attach(out)
	out = out.WithContext(ctx)
	header[p.Field.Name] = []string{p.Field.Value.Reveal()}
	asked := time.Now()
	resp, err := t.get(p.ScopeID, p.Addresses.Reach).RoundTrip(out)
	p.times.destination.add(asked)
	p.times.dial = target.dialed.Load()
	if err != nil {
		failure := sendError(ctx, err)
		if failure.Op == "send" && failure.Code != keybearer.DestinationTLSFailed {
			b.delivered() // as far as anybody can tell
		}
		return nil, failure
	}
	b.delivered()
	resp.Request = nil // it holds the secret
	var failure *keybearer.Error
	switch {
	case resp.StatusCode == http.StatusSwitchingProtocols:
		failure = p.Upgraded(resp.Header)
	case resp.StatusCode < 200 || resp.StatusCode > 999: // no status at all
		failure = keybearer.NewError(keybearer.DestinationUnreachable, "the destination gave no final answer")
	default:
		failure = p.Scrubbable(resp.StatusCode, resp.Header, hasBody(method, resp))
	}
	if failure != nil {
		resp.Body.Close()
		return nil, failure
	}
	return resp, nil
}

// hasBody reports whether an answer may have one (RFC 9110 section 6.4.1). Over HTTP/2 the body says nothing about that.
func hasBody(method string, resp *http.Response) bool {
	return method != http.MethodHead && resp.StatusCode != http.StatusNoContent && resp.StatusCode != http.StatusNotModified && resp.ContentLength != 0
}

// targetURL makes net/http write exactly the bytes of target in the request line.
func targetURL(d *policy.Destination, target string) *url.URL {
	u := &url.URL{Scheme: d.Scheme, Host: keybearer.JoinHost(d.Scheme, d.Host, d.Port)}
	if len(target) > 1 && target[1] == '/' {
		// An Opaque that begins with "//" would be written with a scheme before it. The escaped form of the path,
		// which is what it is sent as, must come out as it went in.
		path, query := cutQuery(target)
		u.RawPath = path
		u.Path, _ = url.PathUnescape(path)
		u.RawQuery, u.ForceQuery = query, len(path) < len(target)
		return u
	}
	u.Opaque = target
	return u
}

// sendError finds the code for a failed round trip. Nothing of the error's text reaches the caller.
func sendError(ctx context.Context, err error) *keybearer.Error {
	if own, ok := errors.AsType[*keybearer.Error](err); ok {
		return own
	}
	if ended := ended(ctx); ended != nil {
		return ended
	}
	if why, ok := errors.AsType[revocation.Refusal](err); ok {
		return &keybearer.Error{Code: keybearer.DestinationTLSFailed, Op: "send", Detail: string(why), Hint: refusalHint}
	}
	code := keybearer.DestinationUnreachable
	switch {
	case isTLS(err):
		code = keybearer.DestinationTLSFailed
	case isTimeout(err):
		code = keybearer.DestinationTimeout
	}
	return &keybearer.Error{Code: code, Op: "send", Err: err}
}

const refusalHint = "look at the destination's certificate and at what it staples, and at the lists of the revoked option"

// ended says why a request's context is over: its caller left, or a change took away its leave. Nil when it is not.
func ended(ctx context.Context) *keybearer.Error {
	if ctx.Err() == nil {
		return nil
	}
	if own, ok := errors.AsType[*keybearer.Error](context.Cause(ctx)); ok {
		return own
	}
	return &keybearer.Error{Code: keybearer.CallerGone, Op: "send", Err: ctx.Err()}
}

func isTLS(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.AlertError](err); ok {
		return true
	}
	op, ok := errors.AsType[*net.OpError](err) // alerts of the peer: Op is "remote error", of ours "local error"
	return ok && (op.Op == "remote error" || op.Op == "local error")
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}
