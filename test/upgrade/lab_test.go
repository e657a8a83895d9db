package upgrade

import (
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer/test/harness"
)

// lab is what a sample's credentials are sent to: every host of example.com that the story names, on 443 and 8443.
type lab struct {
	ca      *harness.CA
	dns     *harness.DNS
	servers []*harness.Server
	hung    chan struct{} // told of each request for /hang, which is never answered
}

func newLab(t *testing.T) *lab {
	l := &lab{ca: harness.NewCA(t), dns: harness.StartDNS(t), hung: make(chan struct{}, 16)}
	cert := harness.ServerTLS(l.ca.Issue(t, time.Time{}, "*.example.com"))
	addr := harness.Address()
	for _, port := range []uint16{443, 8443} {
		l.servers = append(l.servers, harness.StartServer(t, harness.ServerOptions{
			Name: "example.com", Addr: netip.AddrPortFrom(addr, port), TLS: cert,
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/hang" {
					l.hung <- struct{}{}
					<-r.Context().Done()
				}
				_, _ = io.WriteString(w, "ok")
			}),
		}))
	}
	for _, host := range []string{"api", "hooks", "other"} {
		l.dns.Set(host+".example.com", addr)
	}
	return l
}

// options are lines for the global option keybearer.
func (l *lab) options(more ...string) string {
	return strings.Join(append([]string{"trust " + l.ca.File, "allow_private 127.0.0.0/8", "resolver " + l.dns.Addr}, more...), "\n")
}

// sending is a request of an app, and what comes of it: a field that arrives at the destination, or the code of a refusal.
type sending struct {
	Caller     string `json:"caller"`
	Credential string `json:"credential"`
	Method     string `json:"method"`
	URL        string `json:"url"`
	Field      string `json:"field,omitempty"`
	Value      string `json:"value,omitempty"`
	Code       string `json:"code,omitempty"`
}

// send lets an app ask, and fails the test unless what comes of it is as it should be.
func (l *lab) send(t *testing.T, k *harness.Keybearer, token string, s sending) {
	t.Helper()
	id := rand.Text()
	status, code, err := ask(t, k, token, id, s)
	if err != nil {
		t.Errorf("%s as %s: %v", s.Credential, s.Caller, err)
		return
	}
	var arrived []*harness.Arrival
	for _, server := range l.servers {
		arrived = append(arrived, server.With(id)...)
	}
	switch {
	case code != s.Code:
		t.Errorf("%s %s with %s as %s: status %d, code %q; want %q", s.Method, s.URL, s.Credential, s.Caller, status, code, s.Code)
	case s.Code != "" && len(arrived) > 0:
		t.Errorf("%s as %s: refused, and yet something arrived", s.Credential, s.Caller)
	case s.Code == "" && (len(arrived) != 1 || strings.Join(arrived[0].Values(s.Field), ",") != s.Value):
		t.Errorf("%s as %s: status %d, %d requests arrived; %s is not what was sealed", s.Credential, s.Caller, status, len(arrived), s.Field)
	}
}

// ask sends the request through the proxy and returns the status, and the code of a refusal of ours.
func ask(t *testing.T, k *harness.Keybearer, token, id string, s sending) (status int, code string, err error) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{
		Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: k.Proxy.String()}), DisableKeepAlives: true,
	}, Timeout: 20 * time.Second}
	req, err := http.NewRequestWithContext(t.Context(), s.Method, s.URL, nil)
	if err != nil {
		return 0, "", err
	}
	req.Header.Set(harness.IDHeader, id)
	req.Header.Set("Keybearer-Credential", s.Credential)
	req.Header.Set("Proxy-Authorization", "Bearer "+token)
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	var problem struct{ Code string }
	if resp.Header.Get("Content-Type") == "application/problem+json" {
		err = json.NewDecoder(resp.Body).Decode(&problem)
	}
	return resp.StatusCode, problem.Code, err
}
