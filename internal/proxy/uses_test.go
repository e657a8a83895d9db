package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keybearer/keybearer"
)

// Whoever watches is woken when the credential of a use under way expires, by what is known of it last, and not for a use that has ended.
func TestUsesAreLookedAtWhenTheyExpire(t *testing.T) {
	type step struct {
		sleep  time.Duration
		expire time.Duration // from the start; 0: never
		remove bool
	}
	for name, c := range map[string]struct {
		steps []step
		woken []time.Duration // from the start
	}{
		"never":                     {[]step{{expire: 0}}, nil},
		"once":                      {[]step{{expire: time.Minute}}, []time.Duration{time.Minute}},
		"later than was said":       {[]step{{expire: time.Minute}, {expire: 2 * time.Minute}}, []time.Duration{2 * time.Minute}},
		"sooner than was said":      {[]step{{expire: 2 * time.Minute}, {expire: time.Minute}}, []time.Duration{time.Minute}},
		"not any more":              {[]step{{expire: time.Minute}, {expire: 0}}, nil},
		"after it was no longer so": {[]step{{expire: time.Minute}, {expire: 0}, {expire: 3 * time.Minute}}, []time.Duration{3 * time.Minute}},
		"from where one stands":     {[]step{{sleep: time.Minute, expire: 2 * time.Minute}}, []time.Duration{2 * time.Minute}},
		"it has ended":              {[]step{{expire: time.Minute}, {remove: true}}, nil},
		"it had ended before":       {[]step{{remove: true}, {expire: time.Minute}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &live{uses: map[*use]struct{}{}, wake: make(chan struct{}, 1)}
				u, other := &use{}, &use{}
				l.add(u)
				l.add(other)
				start := time.Now()
				for _, s := range c.steps {
					time.Sleep(s.sleep)
					if s.remove {
						l.remove(u)
						continue
					}
					var at time.Time
					if s.expire > 0 {
						at = start.Add(s.expire)
					}
					l.expire(u, at, time.Now())
				}
				var woken []time.Duration
				for end := time.After(time.Hour); ; {
					select {
					case <-l.wake:
						woken = append(woken, time.Since(start))
						continue
					case <-end:
					}
					break
				}
				if len(woken) != len(c.woken) || len(woken) == 1 && woken[0] != c.woken[0] {
					t.Errorf("woken after %v, want %v", woken, c.woken)
				}
				left := 2
				for _, s := range c.steps {
					if s.remove {
						left = 1
					}
				}
				if n := len(l.list()); n != left {
					t.Errorf("%d uses are under way, want %d", n, left)
				}
			})
		})
	}
}

// One token says that something has changed, however much has.
func TestAChangeWaitsForNobody(t *testing.T) {
	l := &live{wake: make(chan struct{}, 1)}
	for range 3 {
		l.changed()
	}
	if len(l.wake) != 1 {
		t.Error("no change is known of")
	}
}

func TestWhatNobodyCouldBeAsked(t *testing.T) {
	for code, want := range map[keybearer.Code]bool{
		keybearer.StoreUnavailable: true, keybearer.RateLimited: true, keybearer.CallerGone: true,
		keybearer.CredentialForbidden: false, keybearer.CallerUnauthenticated: false, keybearer.KeyringUnavailable: false,
	} {
		if got := unasked(keybearer.NewError(code, "")); got != want {
			t.Errorf("%s: %v", code, got)
		}
	}
}

func TestWhichProofsOthersVouchFor(t *testing.T) {
	secret, _ := keybearer.NewToken(keybearer.CallerTokenPrefix, time.Now())
	own := secret.Reveal()
	for _, c := range []struct {
		name string
		e    keybearer.Evidence
		want bool
	}{
		{"none", keybearer.Evidence{}, false},
		{"tokens of ours", keybearer.Evidence{Tokens: []string{own, own}}, false},
		{"a token of others", keybearer.Evidence{Tokens: []string{own, "a.b.c"}}, true},
		{"TLS without a certificate", keybearer.Evidence{TLS: &tls.ConnectionState{}}, false},
		{"a certificate", keybearer.Evidence{TLS: &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{}}}}, true},
		{"a certificate beside tokens of ours", keybearer.Evidence{Tokens: []string{own}, TLS: &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{}}}}, true},
	} {
		if got := foreign(&c.e); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
