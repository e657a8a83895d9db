package e2e

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/test/harness"
)

// proxied asks Keybearer for a URL with docs/crm, as an app behind HTTP_PROXY does.
func (w *world) proxied(url string) string {
	return request("GET", url, "x", "Keybearer-Credential: docs/crm", "Proxy-Authorization: Bearer "+w.tokens["billing"])
}

// Whatever the environment of the server says about proxies and roots, its requests go straight to the destination, and only a destination
// that the configuration trusts gets one.
func TestTheEnvironmentSendsNoSecretElsewhere(t *testing.T) {
	trap, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer trap.Close()
	foreign := harness.NewCA(t)
	w := &world{t: t, ca: harness.NewCA(t), dns: harness.StartDNS(t), tokens: map[string]string{}, expected: map[string]field{}}
	env := []string{"SSL_CERT_FILE=" + foreign.File, "SSL_CERT_DIR=" + filepath.Dir(foreign.File), "NO_PROXY=", "no_proxy=", "GODEBUG=netdns=cgo+1"}
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "FTP_PROXY", "SOCKS_PROXY"} {
		env = append(env, name+"=http://"+trap.Addr().String(), strings.ToLower(name)+"=socks5://"+trap.Addr().String())
	}
	w.Keybearer = harness.NewKeybearer(t, harness.KeybearerOptions{Options: w.options(), Env: env})
	w.start()
	w.billing("api.example.com", "stranger.example.com", "http://clear.example.com")
	api := w.recorder("api.example.com", nil)
	clear := harness.StartRecorder(t, harness.RecorderOptions{Name: "clear.example.com"})
	w.dns.Set("clear.example.com", clear.Addr.Addr())
	stranger := harness.StartRecorder(t, harness.RecorderOptions{
		Name: "stranger.example.com", TLS: harness.ServerTLS(foreign.Issue(t, tomorrow, "stranger.example.com")),
	})
	w.dns.Set("stranger.example.com", stranger.Addr.Addr())

	for name, at := range map[string]*harness.Recorder{"api.example.com": api, "clear.example.com": clear} {
		if a := w.ask(t, w.proxied("http://"+name+"/x")); a.StatusCode != 200 || at.Len() != 1 {
			t.Errorf("%s: %s", name, a.raw)
		}
	}
	isRefusal(t, w.ask(t, w.proxied("http://stranger.example.com/x")), keybearer.DestinationTLSFailed, 502)
	if n := stranger.Len(); n != 0 {
		t.Errorf("%d requests arrived where only the environment's root is shown", n)
	}
	probe, err := net.Dial("tcp", trap.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer probe.Close()
	first, err := trap.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if first.RemoteAddr().String() != probe.LocalAddr().String() {
		t.Error("the proxy of the environment was connected to")
	}
	if log, err := os.ReadFile(w.Log); err != nil || !strings.Contains(string(log), "SSL_CERT_FILE") {
		t.Errorf("the log does not say that the environment's roots are not used: %v", err)
	}
}

// A list that the operator gives takes a destination's certificate back, at once at the start and within seconds when the file is replaced.
func TestARevokedDestinationGetsNothing(t *testing.T) {
	w := &world{t: t, ca: harness.NewCA(t), dns: harness.StartDNS(t), tokens: map[string]string{}, expected: map[string]field{}}
	bad, good := w.ca.Certificate(t, nil, "bad.example.com"), w.ca.Certificate(t, nil, "good.example.com")
	list := w.ca.RevokeFile(t, bad)
	w.Keybearer = harness.NewKeybearer(t, harness.KeybearerOptions{Options: w.options("revoked " + list)})
	w.start()
	w.billing("*.example.com")
	at := map[string]*harness.Recorder{}
	for name, cert := range map[string]tls.Certificate{"bad.example.com": bad, "good.example.com": good} {
		at[name] = harness.StartRecorder(t, harness.RecorderOptions{Name: name, TLS: harness.ServerTLS(cert)})
		w.dns.Set(name, at[name].Addr.Addr())
	}
	a := w.ask(t, w.proxied("http://bad.example.com/x"))
	isRefusal(t, a, keybearer.DestinationTLSFailed, 502)
	if !strings.Contains(a.raw, "the certificate was revoked") || at["bad.example.com"].Len() != 0 {
		t.Errorf("%d requests, and says %s", at["bad.example.com"].Len(), a.raw)
	}
	if a := w.ask(t, w.proxied("http://good.example.com/x")); a.StatusCode != 200 {
		t.Errorf("%s", a.raw)
	}
	// The list comes to name the other one.
	content, err := os.ReadFile(w.ca.RevokeFile(t, bad, good))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(list, content, 0o600); err != nil {
		t.Fatal(err)
	}
	harness.Await(t, "the new list holds", 30*time.Second, func() error {
		if a := w.ask(t, w.proxied("http://good.example.com/x")); a.StatusCode != 502 {
			return errors.New(a.Status)
		}
		return nil
	})
}
