package identity

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/keybearer/keybearer"
)

const (
	refreshEvery = 5 * time.Minute  // how often the keys are asked for; one that is withdrawn is believed so long
	watchEvery   = time.Second      // how often the file is read
	retryEvery   = 10 * time.Second // how often while they cannot be had, and how often at most for an unknown key
	keepKeys     = 24 * time.Hour   // how long the last known ones serve meanwhile
	waitForKeys  = 2 * time.Second  // how long a request waits for them at most
)

// IssuerConfig says whose JWTs are believed, and where its keys are. Issuer and Audience are required. Without JWKSFile and JWKSURL the keys are
// found by discovery (OpenID Connect Discovery 1.0 section 4).
type IssuerConfig struct {
	Issuer     string // as in the claim iss, to the letter
	Audience   string // what the claim aud must hold
	JWKSFile   string // read again when it changes
	JWKSURL    string
	TokenFile  string           // holds a bearer token that is sent to JWKSURL, as Kubernetes wants; read at each fetch
	CA         string           // PEM file with the roots that the issuer's server is judged by, read at each fetch; "": Roots
	Roots      *x509.CertPool   // nil: the system's
	Algorithms []string         // nil: [DefaultAlgorithms]
	Type       string           // what the header typ must be; "": anything
	Leeway     time.Duration    // by which clocks may differ; 0: none
	Once       bool             // each JWT is looked at one time only: none is remembered
	Wait       time.Duration    // how long a request waits for keys at most; 0: 2 s
	Now        func() time.Time // nil: time.Now
	Logger     *slog.Logger     // is told when the keys cannot be had, and when they can again; nil: nobody is
}

// DefaultAlgorithms are those that are allowed when nothing is said.
var DefaultAlgorithms = []string{"RS256", "PS256", "ES256", "ES384", "EdDSA"}

// Check returns what cannot be right, an [keybearer.Invalid] error, without asking anybody.
func (c *IssuerConfig) Check() error {
	invalid := func(detail, hint string) error { return keybearer.NewError(keybearer.Invalid, detail).WithHint(hint) }
	switch {
	case c.Issuer == "":
		return invalid("the issuer has no name", "write issuer, as it stands in the claim iss")
	case c.Audience == "":
		return invalid("the issuer has no audience", "write audience, as it stands in the claim aud of what is meant for Keybearer")
	case c.JWKSFile != "" && c.JWKSURL != "":
		return invalid("jwks_file and jwks_url exclude each other", "keep one")
	case c.TokenFile != "" && c.JWKSURL == "":
		return invalid("token_file is sent to jwks_url, and there is none", "write jwks_url, or remove token_file")
	case c.CA != "" && c.JWKSFile != "":
		return invalid("nobody is asked for the keys in jwks_file, so ca judges nothing", "remove ca")
	case c.JWKSURL != "" && !secure(c.JWKSURL):
		return invalid("jwks_url is not an https address", "write it like https://idp.example.com/keys")
	case c.JWKSFile == "" && c.JWKSURL == "" && (!secure(c.Issuer) || strings.ContainsAny(c.Issuer, "?#")):
		return invalid("the issuer is not an https address, where its keys could be found",
			"write it like https://idp.example.com, or say with jwks_file or jwks_url where the keys are")
	}
	for _, a := range c.Algorithms {
		if !slices.Contains(algorithms, jose.SignatureAlgorithm(a)) {
			return invalid("an algorithm is not one that Keybearer verifies", "take some of RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA")
		}
	}
	return nil
}

// secure reports whether text is an https address without a user.
func secure(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Scheme == "https" && u.Host != "" && u.User == nil
}

// Issuer makes JWTs that are believed. It follows the issuer's keys until Close. It is safe for concurrent use.
type Issuer struct {
	config  IssuerConfig
	allowed []jose.SignatureAlgorithm

	believed atomic.Pointer[belief] // nil: no keys yet
	document []byte                 // of the keys; the fetch's

	ctx   context.Context
	stop  context.CancelFunc
	group sync.WaitGroup

	mu     sync.Mutex
	flight chan struct{} // closed when the fetch under way has ended; nil: there is none
	begun  time.Time     // when the last one began; zero, and so long ago: none has
	failed error         // of the last one
}

// belief is what the issuer's keys are, and when the issuer last said so. It is immutable.
type belief struct {
	keys *keySet
	at   time.Time
}

// OpenIssuer begins to follow the keys. A file is read before it returns; nobody else is waited for. Errors are [keybearer.Invalid] ones, and say how to
// mend it.
func OpenIssuer(c IssuerConfig) (*Issuer, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	if c.Wait == 0 {
		c.Wait = waitForKeys
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Algorithms == nil {
		c.Algorithms = DefaultAlgorithms
	}
	i := &Issuer{config: c}
	for _, a := range c.Algorithms {
		i.allowed = append(i.allowed, jose.SignatureAlgorithm(a))
	}
	i.ctx, i.stop = context.WithCancel(context.Background())
	if c.JWKSFile != "" {
		if err := i.fetch(); err != nil {
			return nil, keybearer.NewError(keybearer.Invalid, "the keys of the issuer "+c.Issuer+" cannot be read: "+err.Error()).
				WithHint("put the issuer's public keys there, as a JWK set")
		}
		if len(i.believed.Load().keys.keys) == 0 {
			return nil, keybearer.NewError(keybearer.Invalid, c.JWKSFile+" holds no key that a JWT may be verified with").
				WithHint("it takes public keys: RSA of 2048 bits or more, P-256, P-384, P-521 or Ed25519")
		}
	}
	i.group.Go(i.follow)
	return i, nil
}

// Close stops following the keys.
func (i *Issuer) Close() error {
	i.mu.Lock() // so that no fetch begins any more
	i.stop()
	i.mu.Unlock()
	i.group.Wait()
	return nil
}

// follow asks for the keys again and again.
func (i *Issuer) follow() {
	for {
		if done := i.ask(0); done != nil {
			<-done
		}
		i.mu.Lock()
		failed := i.failed
		i.mu.Unlock()
		select {
		case <-time.After(i.pause(failed)):
		case <-i.ctx.Done():
			return
		}
	}
}

// pause is how long to wait before asking again, after what came of the last time.
func (i *Issuer) pause(failed error) time.Duration {
	switch {
	case i.config.JWKSFile != "":
		return watchEvery
	case failed != nil:
		return retryEvery
	}
	return refreshEvery - rand.N(refreshEvery/10) // not all nodes at once
}

// ask sees to it that the keys are asked for, unless that was begun a moment ago. The channel, nil in that case, is closed when the answer has
// been taken in.
func (i *Issuer) ask(pause time.Duration) <-chan struct{} {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := i.config.Now()
	switch {
	case i.flight != nil:
		return i.flight
	case i.ctx.Err() != nil, now.Sub(i.begun) < pause:
		return nil
	}
	done := make(chan struct{})
	i.flight, i.begun = done, now
	i.group.Go(func() {
		err := i.fetch()
		i.mu.Lock()
		before := i.failed
		i.flight, i.failed = nil, err
		i.mu.Unlock()
		close(done)
		switch {
		case i.ctx.Err() != nil:
		case err != nil && (before == nil || before.Error() != err.Error()):
			i.config.Logger.Warn("the keys of an issuer cannot be had; those that are known serve for a day", "issuer", i.config.Issuer, "error", err)
		case err == nil && before != nil:
			i.config.Logger.Info("the keys of an issuer can be had again", "issuer", i.config.Issuer)
		}
	})
	return done
}

// fetch asks for the keys and takes them in. While they are the same, so is the set.
func (i *Issuer) fetch() error {
	at := i.config.Now()
	document, err := i.load(i.ctx)
	if err != nil {
		return err
	}
	if b := i.believed.Load(); b != nil && bytes.Equal(document, i.document) {
		i.believed.Store(&belief{b.keys, at})
		return nil
	}
	keys, err := parseKeys(document)
	if err != nil {
		return fmt.Errorf("what %s holds cannot be used: %w", i.place(), err)
	}
	i.document = document
	i.believed.Store(&belief{keys, at})
	return nil
}

// place words where the keys are, for the operator.
func (i *Issuer) place() string {
	switch {
	case i.config.JWKSFile != "":
		return i.config.JWKSFile
	case i.config.JWKSURL != "":
		return i.config.JWKSURL
	}
	return i.config.Issuer
}

// errAway says that there are no keys to judge by.
var errAway = errors.New("the keys of the JWT's issuer cannot be had at the moment")

// keys returns the issuer's keys. The first request waits for them.
func (i *Issuer) keys(ctx context.Context) (*keySet, error) {
	if keys := i.known(); keys != nil {
		return keys, nil
	}
	if err := i.await(ctx, i.ask(retryEvery)); err != nil {
		return nil, err
	}
	if keys := i.known(); keys != nil {
		return keys, nil
	}
	return nil, errAway
}

// known returns the keys that are known and not too old, or nil.
func (i *Issuer) known() *keySet {
	if b := i.believed.Load(); b != nil && i.config.Now().Sub(b.at) < keepKeys {
		return b.keys
	}
	return nil
}

// renewed returns the keys once more, after asking for them anew unless that was done a moment ago.
func (i *Issuer) renewed(ctx context.Context, old *keySet) (*keySet, error) {
	pause := retryEvery
	if i.config.JWKSFile != "" {
		pause = watchEvery / 4
	}
	if err := i.await(ctx, i.ask(pause)); err != nil {
		return nil, err
	}
	if keys := i.known(); keys != nil {
		return keys, nil
	}
	return old, nil
}

// await waits for a fetch as long as a request may. It returns ctx's error when that ends first.
func (i *Issuer) await(ctx context.Context, done <-chan struct{}) error {
	if done == nil {
		return ctx.Err()
	}
	late := time.NewTimer(i.config.Wait)
	defer late.Stop()
	select {
	case <-done:
	case <-late.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}
