package identity

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/revocation"
)

// MTLSConfig says who may vouch for client certificates, and whom those prove.
type MTLSConfig struct {
	Trust   []string          // PEM files of roots, for subjects that are no SPIFFE ids
	SPIFFE  map[string]string // trust domains, and the PEM file of each one's bundle
	Map     []Mapping
	Revoked []string // files of revocation lists

	Now    func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil: slog.Default
}

// Mapping says that a certificate with the subject proves the caller.
type Mapping struct {
	Subject string // spiffe://<trust-domain>/<path>, dns:<name>, uri:<uri>, email:<address> or cn:<common name>
	Caller  string // name
}

// MTLS proves callers by the certificate that the client presented in the TLS handshake. It is safe for concurrent use.
//
// What the server made of the certificate counts for nothing: it may have asked for one and looked no further, and it does not look
// again when a session is resumed. The chain, its times, its use and its revocation are judged for each request as of its arrival, and remembered
// for a few seconds. It looks at certificates with a SPIFFE id if there is a bundle, and at others if there are roots; each
// that it looks at must prove a caller, or the request is refused, whatever else it proves.
type MTLS struct {
	config  MTLSConfig
	callers keybearer.Callers
	by      map[subject]string // names of callers
	lists   *revocation.Lists

	current atomic.Pointer[opinion]
	start   time.Time
	looked  atomic.Int64 // at the files: nanoseconds since start
	mu      sync.Mutex   // held by who looks
	seen    []os.FileInfo
	broken  time.Time // since when a file cannot be read; zero: they can
}

// opinion is what is thought of certificates while no file changes.
type opinion struct {
	*authorities // nil: they cannot be read any more
	verdicts
	issue uint64 // of the revocation lists
}

const (
	lookEvery = time.Second      // how often the files are looked at; a look costs one stat each
	patience  = 30 * time.Second // how long a file may be unreadable, as one that is being written is, and what it said before goes on to count
)

// CheckMTLS returns what is wrong with the configuration or its files, and how to mend it, as [keybearer.Invalid] or the file's error. The
// fingerprint is of the revocation lists.
func CheckMTLS(config MTLSConfig) (fingerprint string, err error) {
	if _, _, err := parseMTLS(&config); err != nil {
		return "", err
	}
	if fingerprint, err = revocation.Fingerprint(config.Revoked...); err != nil {
		return "", fmt.Errorf("revoked: %w", err)
	}
	return fingerprint, nil
}

// NewMTLS returns an MTLS, to be closed by whoever asked. The errors are those of [CheckMTLS].
func NewMTLS(config MTLSConfig, callers keybearer.Callers) (*MTLS, error) {
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	m := &MTLS{config: config, callers: callers, start: config.Now()}
	m.seen = m.stat(config.Now()) // before they are read: what changes meanwhile is seen later
	by, a, err := parseMTLS(&m.config)
	if err != nil {
		return nil, err
	}
	if m.lists, err = revocation.Open(config.Logger, config.Revoked...); err != nil {
		return nil, fmt.Errorf("revoked: %w", err)
	}
	m.by = by
	m.current.Store(&opinion{authorities: a, issue: m.lists.Issue()})
	return m, nil
}

// Close stops following the revocation lists.
func (m *MTLS) Close() error { return m.lists.Close() }

func parseMTLS(c *MTLSConfig) (map[subject]string, *authorities, error) {
	invalid := func(detail, hint string) (map[subject]string, *authorities, error) {
		return nil, nil, keybearer.NewError(keybearer.Invalid, detail).WithHint(hint)
	}
	switch {
	case len(c.Trust) == 0 && len(c.SPIFFE) == 0:
		return invalid("nobody vouches for client certificates", "add trust <pem-file>, or spiffe <trust-domain> <pem-file>")
	case len(c.Map) == 0:
		return invalid("no certificate proves a caller", "add a line such as map dns:billing.internal app:billing")
	}
	a, err := readAuthorities(c)
	if err != nil {
		return nil, nil, err
	}
	by := make(map[subject]string, len(c.Map))
	for _, m := range c.Map {
		s, err := parseSubject(m.Subject)
		if err != nil {
			return nil, nil, err
		}
		if _, twice := by[s]; twice {
			return invalid("map "+m.Subject+" is written twice", "keep one: a certificate proves one caller")
		}
		if !keybearer.ValidName(m.Caller) {
			return invalid("map "+m.Subject+" names no caller", "write app:<name>, for example app:billing")
		}
		if s.kind == spiffeSubject {
			domain := spiffeid.RequireFromString(s.value).TrustDomain()
			if a.bundles[domain] == nil {
				return invalid("map "+m.Subject+" is of a trust domain that nobody vouches for", "add spiffe "+domain.Name()+" <pem-file>")
			}
		} else if a.roots == nil {
			return invalid("map "+m.Subject+" needs a root that vouches for such certificates", "add trust <pem-file>")
		}
		by[s] = m.Caller
	}
	return by, a, nil
}

// Identify implements [keybearer.Identity].
func (m *MTLS) Identify(ctx context.Context, e *keybearer.Evidence) (*keybearer.Caller, error) {
	if e.TLS == nil || len(e.TLS.PeerCertificates) == 0 {
		return nil, nil
	}
	if !e.TLS.HandshakeComplete { // early data: nobody has proven yet that it holds the certificate's key
		return nil, refuse("the request was sent before the client had proven its certificate", "send it again")
	}
	certs, now := e.TLS.PeerCertificates, m.config.Now()
	o := m.opinion(now)
	if o.authorities == nil {
		return nil, refuse("the authorities of client certificates cannot be read", "operators: look at the files that identity mtls names")
	}
	if !o.looksAt(certs[0]) {
		return nil, nil
	}
	key := hashOf(certs)
	v, ok := o.get(key, e.At, now)
	if !ok {
		v = m.judge(o.authorities, certs, e.At)
		v.made = now
		o.put(key, v)
	}
	if v.err != nil {
		return nil, v.err
	}
	return m.callers.ByName(ctx, v.caller)
}

// judge finds the caller that the certificates prove at a time.
func (m *MTLS) judge(a *authorities, certs []*x509.Certificate, at time.Time) verdict {
	said, chains, err := a.verify(certs, at)
	if err != nil {
		return refusal(err, at)
	}
	var v verdict
	for _, chain := range chains {
		if err := m.lists.Check(chain); err != nil {
			return refusal(refuse(err.Error(), "give the app a new certificate; operators: look at the files that revoked names").Wrap(err), at)
		}
		for _, c := range chain {
			if v.from.Before(c.NotBefore) {
				v.from = c.NotBefore
			}
			if v.until.IsZero() || v.until.After(c.NotAfter) {
				v.until = c.NotAfter
			}
		}
	}
	for _, s := range said {
		name, ok := m.by[s]
		switch {
		case !ok:
		case v.caller != "" && v.caller != name:
			return refusal(refuse("the client certificate proves two different callers", "operators: map one of its subjects alone"), at)
		default:
			v.caller = name
		}
	}
	if v.caller == "" {
		return refusal(refuse("the client certificate is valid and proves no caller", "operators: add a map line for its SPIFFE id or subject to identity mtls"), at)
	}
	return v
}

// opinion returns what is thought now. Once a second one request looks whether the files have changed.
func (m *MTLS) opinion(now time.Time) *opinion {
	if since := now.Sub(m.start); since-time.Duration(m.looked.Load()) >= lookEvery && m.mu.TryLock() {
		m.look(now)
		m.looked.Store(int64(since))
		m.mu.Unlock()
	}
	o := m.current.Load()
	if issue := m.lists.Issue(); issue != o.issue {
		m.current.CompareAndSwap(o, &opinion{authorities: o.authorities, issue: issue})
		o = m.current.Load()
	}
	return o
}

// look reads the files anew if they have changed. The caller holds mu.
func (m *MTLS) look(now time.Time) {
	seen, before := m.stat(now), m.current.Load().authorities
	if m.broken.IsZero() && slices.EqualFunc(seen, m.seen, same) {
		return
	}
	a, err := readAuthorities(&m.config)
	switch {
	case err == nil:
		m.config.Logger.Info("authorities of client certificates were read anew")
		m.seen, m.broken = seen, time.Time{}
	case m.broken.IsZero():
		m.config.Logger.Warn("authorities of client certificates cannot be read: what was read before counts for 30 seconds", "error", err)
		m.broken = now
		return
	case before == nil || now.Sub(m.broken) < patience:
		return
	default:
		m.config.Logger.Error("authorities of client certificates cannot be read: every certificate is refused until they can", "error", err)
	}
	m.current.Store(&opinion{authorities: a, issue: m.lists.Issue()})
}

// stat looks at the files that vouch, in an order that stays. A file that is not there, or was written just now and may change again within what
// its time can tell, is as none.
func (m *MTLS) stat(now time.Time) []os.FileInfo {
	paths := slices.Clone(m.config.Trust)
	for _, path := range m.config.SPIFFE {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	infos := make([]os.FileInfo, len(paths))
	for i, path := range paths {
		if info, err := os.Stat(path); err == nil && now.Sub(info.ModTime()).Abs() > time.Second {
			infos[i] = info
		}
	}
	return infos
}

func same(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}
