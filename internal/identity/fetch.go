package identity

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/json"
)

const (
	maxDocument  = 1 << 20 // bytes
	fetchTimeout = 10 * time.Second
)

// load returns the document with the issuer's keys, from where the operator said that it is.
func (i *Issuer) load(ctx context.Context) ([]byte, error) {
	if i.config.JWKSFile != "" {
		return readBounded(i.config.JWKSFile)
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	client, err := i.client()
	if err != nil {
		return nil, err
	}
	if i.config.JWKSURL != "" {
		token := ""
		if i.config.TokenFile != "" {
			b, err := readBounded(i.config.TokenFile)
			if err != nil {
				return nil, err
			}
			token = string(bytes.TrimSpace(b))
		}
		return get(ctx, client, i.config.JWKSURL, token)
	}
	document, err := get(ctx, client, strings.TrimSuffix(i.config.Issuer, "/")+"/.well-known/openid-configuration", "")
	if err != nil {
		return nil, err
	}
	var about struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	switch err := json.Unmarshal(document, &about); {
	case err != nil:
		return nil, errors.New("the issuer's configuration is not JSON that can be read")
	case about.Issuer != i.config.Issuer: // section 4.3
		return nil, errors.New("the issuer's configuration is that of another issuer: write issuer exactly as it stands there")
	case !secure(about.Keys):
		return nil, errors.New("the issuer's configuration names no https address for its keys")
	}
	return get(ctx, client, about.Keys, "")
}

// client returns one that trusts whom the operator trusts, goes through no proxy, follows no redirect, and keeps no connection.
func (i *Issuer) client() (*http.Client, error) {
	roots := i.config.Roots
	if i.config.CA != "" {
		pem, err := readBounded(i.config.CA)
		if err != nil {
			return nil, err
		}
		if roots = x509.NewCertPool(); !roots.AppendCertsFromPEM(pem) {
			return nil, errors.New(i.config.CA + " holds no certificate in PEM form")
		}
	}
	return &http.Client{
		Transport: &http.Transport{
			Proxy:             nil,
			DialContext:       (&net.Dialer{Timeout: fetchTimeout}).DialContext,
			TLSClientConfig:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2: true, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// get returns the body of an answer that is one.
func get(ctx context.Context, client *http.Client, url, token string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return nil, fmt.Errorf("%s answers %d: redirects are not followed, name the address itself", url, resp.StatusCode)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s answers %d", url, resp.StatusCode)
	}
	return bounded(resp.Body, url)
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return bounded(f, path)
}

func bounded(r io.Reader, name string) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	if err == nil && len(b) > maxDocument {
		err = errors.New(name + " is larger than 1 MiB")
	}
	return b, err
}
