package signin

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/keybearer/keybearer"
)

// ProviderConfig says which OpenID provider is believed, and what for. Issuer, ClientID, Secret and Redirect are required.
type ProviderConfig struct {
	Issuer   string // exactly as it stands in iss; https
	ClientID string
	Secret   func() (keybearer.Secret, error) // asked for at each use, so that a new one is seen
	Redirect string                           // where the provider sends browsers back to: the console's public address and [CallbackPath]
	CA       string                           // PEM file of roots for the provider, read at each look; "": Roots
	Roots    *x509.CertPool                   // nil: the system's

	Scopes      []string // asked for; openid is among them whatever is given
	UserClaim   string   // "": sub
	GroupsClaim string   // "": the person has none

	InstanceAdmins []string            // groups whose members hold instance-admin
	ScopeAdmins    map[string][]string // by a scope's name, groups whose members hold scope-admin of it

	Now func() time.Time // nil: the system's clock
}

// CallbackPath is where the provider sends browsers back to.
const CallbackPath = "/sign-in/oidc/callback"

const (
	lookTimeout = 10 * time.Second
	lookAgain   = 5 * time.Second // after one that failed
	known       = time.Hour       // for which what was found counts, withdrawn keys included
	maxAnswer   = 1 << 20         // bytes
)

// Provider is an OpenID provider. It is looked up when it is needed first: one that is away does not keep the server from starting. It is
// safe for concurrent use.
type Provider struct {
	ProviderConfig
	turn  chan struct{} // held by who looks; guards what follows
	found *found
	tried time.Time // when a look failed last
	why   error
}

// found is what a provider says of itself.
type found struct {
	*oidc.Provider
	client *http.Client
	style  oauth2.AuthStyle
	named  bool // its answers name it (RFC 9207)
	at     time.Time
}

// NewProvider returns a provider and connects nowhere. It returns [keybearer.Invalid] for a configuration that cannot work.
func NewProvider(cfg ProviderConfig) (*Provider, error) {
	invalid := func(detail, hint string) error { return keybearer.NewError(keybearer.Invalid, detail).WithHint(hint) }
	switch {
	case cfg.Issuer == "":
		return nil, invalid("the provider has no issuer", "add issuer https://idp.example.com")
	case !secure(cfg.Issuer):
		return nil, invalid("the issuer is not an https address", "write it as it stands in the provider's configuration, with https:// and without a query")
	case cfg.ClientID == "":
		return nil, invalid("the provider has no client_id", "register Keybearer there as a confidential client, and add client_id")
	case cfg.Secret == nil:
		return nil, invalid("the provider has no client secret", "add client_secret_file with the path of a file of mode 0600")
	}
	if cfg.UserClaim == "" {
		cfg.UserClaim = "sub"
	}
	if len(cfg.Scopes) == 0 {
		cfg.Scopes = []string{"profile", "email"}
	}
	if !slices.Contains(cfg.Scopes, oidc.ScopeOpenID) {
		cfg.Scopes = append([]string{oidc.ScopeOpenID}, cfg.Scopes...)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Provider{ProviderConfig: cfg, turn: make(chan struct{}, 1)}, nil
}

func secure(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Scheme == "https" && u.Host != "" && u.User == nil && u.RawQuery == "" && !u.ForceQuery && u.Fragment == ""
}

// Name is the provider's host, for people.
func (p *Provider) Name() string {
	u, err := url.Parse(p.Issuer)
	if err != nil {
		return "OpenID"
	}
	return u.Host
}

// away says that the provider cannot be asked. Its cause is for the log.
func away(err error) error {
	return keybearer.NewError(keybearer.Unauthenticated, "the identity provider cannot be asked now").
		WithHint("try again, or sign in with an operator token").Wrap(errors.Join(ErrAway, err))
}

// ErrAway is the cause of an error that says that the provider cannot be asked.
var ErrAway = errors.New("identity provider away")

// look returns what the provider says of itself; one of many asks, and a failure counts for all for a moment.
func (p *Provider) look(ctx context.Context) (*found, error) {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return nil, away(ctx.Err())
	}
	now := p.Now()
	if p.found != nil && now.Sub(p.found.at) < known {
		return p.found, nil
	}
	if p.why != nil && now.Sub(p.tried) < lookAgain {
		return nil, away(p.why)
	}
	f, err := p.discover()
	if err != nil {
		p.tried, p.why = p.Now(), err
		return nil, away(err)
	}
	p.found, p.why = f, nil
	return f, nil
}

// discover asks the provider (OpenID Connect Discovery 1.0).
func (p *Provider) discover() (*found, error) {
	client, err := p.client()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(oidc.ClientContext(context.Background(), client), lookTimeout)
	defer cancel()
	provider, err := oidc.NewProvider(ctx, p.Issuer)
	if err != nil {
		return nil, short(err)
	}
	var about struct {
		Keys    string   `json:"jwks_uri"`
		Methods []string `json:"token_endpoint_auth_methods_supported"`
		Named   bool     `json:"authorization_response_iss_parameter_supported"`
	}
	if err := provider.Claims(&about); err != nil {
		return nil, short(err)
	}
	ends := provider.Endpoint()
	for what, address := range map[string]string{"authorization_endpoint": ends.AuthURL, "token_endpoint": ends.TokenURL, "jwks_uri": about.Keys} {
		if u, err := url.Parse(address); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
			return nil, fmt.Errorf("the provider's configuration names no https address as %s", what)
		}
	}
	f := &found{Provider: provider, client: client, style: oauth2.AuthStyleInHeader, named: about.Named, at: p.Now()}
	if len(about.Methods) > 0 && !slices.Contains(about.Methods, "client_secret_basic") {
		f.style = oauth2.AuthStyleInParams
	}
	return f, nil
}

// oauth returns the client side of the code flow.
func (p *Provider) oauth(f *found, secret keybearer.Secret) *oauth2.Config {
	ends := f.Endpoint()
	ends.AuthStyle = f.style
	return &oauth2.Config{ClientID: p.ClientID, ClientSecret: secret.Reveal(), Endpoint: ends, RedirectURL: p.Redirect, Scopes: p.Scopes}
}

// short is an error without what a stranger could have filled it with.
func short(err error) error {
	text := err.Error()
	if len(text) > 300 {
		text = text[:300] + "…"
	}
	return errors.New(text)
}

// client returns one that trusts whom the operator trusts, goes through no proxy, follows no redirect, and keeps no connection.
func (p *Provider) client() (*http.Client, error) {
	roots := p.Roots
	if p.CA != "" {
		pem, err := os.ReadFile(p.CA)
		if err != nil {
			return nil, err
		}
		if roots = x509.NewCertPool(); !roots.AppendCertsFromPEM(pem) {
			return nil, errors.New(p.CA + " holds no certificate in PEM form")
		}
	}
	return &http.Client{
		Timeout: lookTimeout,
		Transport: bounded{&http.Transport{
			Proxy:             nil,
			DialContext:       (&net.Dialer{Timeout: lookTimeout}).DialContext,
			TLSClientConfig:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2: true, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10,
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// bounded ends answers that are too long.
type bounded struct{ http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	}
	return resp, err
}

// errText is what a provider's error code (RFC 6749 sections 4.1.2.1 and 5.2, OpenID Connect Core section 3.1.2.6) may be called in a log; "" for what is none:
// whoever makes the address chooses that text.
func errText(code string) string {
	if strings.Trim(code, "abcdefghijklmnopqrstuvwxyz_") == "" && len(code) <= 40 {
		return code
	}
	return ""
}
