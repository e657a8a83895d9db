package vaultclient

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"time"

	"github.com/keybearer/keybearer"
)

// DefaultTimeout bounds a request when the configuration says nothing.
const DefaultTimeout = 2 * time.Second

// Config says where Vault is and how to log in.
type Config struct {
	Address    string // https://host:port; http only to this machine itself
	CACert     string // PEM file with the roots that Vault's certificate is judged by; "": the system's
	ClientCert string // PEM file shown to Vault, read anew for each connection; "": none
	ClientKey  string // and its key
	ServerName string // expected in Vault's certificate, when that is not the address's host
	Namespace  string // of Vault Enterprise or OpenBao; "": the root
	Auth       Auth
	Timeout    time.Duration // of one request; 0: DefaultTimeout
	Logger     *slog.Logger  // nil: silent
}

// Validate reads the files of the TLS configuration and checks everything that can be checked without a connection. It returns
// [keybearer.Invalid] with the fix.
func (c Config) Validate() error {
	_, err := c.transport()
	if err == nil && c.Auth == nil {
		err = invalid("no way to log in to Vault is configured", "say how, with auth approle, jwt, cert or token_file")
	}
	if err == nil {
		err = c.Auth.validate(c)
	}
	return err
}

func invalid(detail, hint string) *keybearer.Error {
	return keybearer.NewError(keybearer.Invalid, detail).WithHint(hint)
}

// transport returns a transport of HTTP/1.1: one stalled HTTP/2 connection would hold up every request.
func (c Config) transport() (*http.Transport, error) {
	u, err := url.Parse(c.Address)
	if err != nil || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, invalid("the address of Vault is not a URL of scheme and host", "write it as https://vault.example.com:8200")
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) {
		return nil, invalid("the address of Vault is http and not on this machine: tokens and secrets would cross the network in clear",
			"write https:// and name Vault's authority with ca, or connect through a proxy on 127.0.0.1")
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	if c.CACert != "" {
		pem, err := os.ReadFile(c.CACert)
		if err != nil {
			return nil, invalid("the file of ca cannot be read", "check its path and permissions: "+c.CACert).Wrap(err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, invalid("the file of ca holds no certificate", "it must be PEM, -----BEGIN CERTIFICATE-----: "+c.CACert)
		}
	}
	if (c.ClientCert == "") != (c.ClientKey == "") {
		return nil, invalid("a client certificate needs its key, and the key its certificate", "write both: cert <certificate> <key>")
	}
	if c.ClientCert != "" {
		load := func() (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(c.ClientCert, c.ClientKey)
			if err != nil {
				return nil, invalid("the client certificate for Vault cannot be loaded", "cert takes a PEM certificate and its PEM key: "+c.ClientCert+", "+c.ClientKey).Wrap(err)
			}
			return &pair, nil
		}
		if _, err := load(); err != nil {
			return nil, err
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	t := &http.Transport{
		DialContext:         (&net.Dialer{KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:     config,
		MaxIdleConns:        2 * limit,
		MaxIdleConnsPerHost: 2 * limit,
		IdleConnTimeout:     90 * time.Second,
		Protocols:           new(http.Protocols),
	}
	t.Protocols.SetHTTP1(true)
	return t, nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}
