package proxy

import (
	"net/http"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
)

func (l *lab) probe(method, credential, url string) Seen {
	l.t.Helper()
	return must(l.proxy.Probe(l.t.Context(), Probe{
		Operator: "ann", Caller: "billing", Credential: keybearer.Ref{Scope: "docs", Name: credential}, Method: method, URL: url,
	}))
}

func TestAProbeIsARequestOfTheCallerThatNamesTheOperator(t *testing.T) {
	l := newLab(t)
	l.credential("crm", l.bearer(), "s3cret-token")
	l.handle = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Echo", r.Header.Get("Authorization"))
		w.WriteHeader(http.StatusTeapot)
		_, _ = w.Write([]byte("12345"))
	}
	seen := l.probe("POST", "crm", l.plain()+"/v1/items?q=1")
	got := <-l.seen
	if got.Method != "POST" || got.URL.RequestURI() != "/v1/items?q=1" || got.Header.Get("Authorization") != "Bearer s3cret-token" || got.ContentLength > 0 {
		t.Errorf("the destination got %s %s %v", got.Method, got.URL, got.Header)
	}
	if seen.Refusal != nil || seen.Status != http.StatusTeapot || seen.Bytes != 5 || seen.Cut || seen.RequestID == "" {
		t.Errorf("seen: %+v", seen)
	}
	if diff := gocmp.Diff([]string{"Content-Length", "Content-Type", "Date", "X-Echo"}, seen.Fields); diff != "" {
		t.Errorf("fields: %s", diff)
	}
	for _, e := range l.events(1) {
		if e.Kind != keybearer.UseEvent || e.Caller != "billing" || e.Operator != "ann" || e.ID != seen.RequestID {
			t.Errorf("event: %+v", e)
		}
	}
}

func TestAProbeIsJudgedAsTheCallersOwnRequests(t *testing.T) {
	l := newLab(t)
	l.credential("crm", l.bearer("GET"), "s3cret-token")
	personal := l.bearer()
	personal.RequireUser = true
	l.credential("personal", personal, "s3cret-token")
	l.credential("other", l.bearer(), "s3cret-token", func(c *keybearer.Credential, _ *keybearer.Bundle) { c.Grants = nil })
	for _, c := range []struct {
		method, credential, url string
		want                    keybearer.Code
	}{
		{"POST", "crm", l.plain() + "/", keybearer.MethodNotAllowed},
		{"GET", "crm", "http://elsewhere.example/", keybearer.DestinationNotAllowed},
		{"HEAD", "crm", "http://elsewhere.example/", keybearer.DestinationNotAllowed}, // whose answer has no body
		{"GET", "other", l.plain() + "/", keybearer.CredentialForbidden},
		{"GET", "none", l.plain() + "/", keybearer.CredentialForbidden},
		{"GET", "personal", l.plain() + "/", keybearer.UserRequired},
		{"GET", "crm", "http://u:p@elsewhere.example/", keybearer.DestinationInvalid},
	} {
		seen := l.probe(c.method, c.credential, c.url)
		if seen.Refusal == nil || seen.Refusal.Code != c.want || seen.Status < 400 || len(seen.Fields) > 0 {
			t.Errorf("%s %s with %s: %+v, want %s", c.method, c.url, c.credential, seen, c.want)
		}
	}
	if len(l.seen) > 0 {
		t.Error("something was sent")
	}
}

func TestAProbeTakesNothingThatCouldNotComeOverTheWire(t *testing.T) {
	l := newLab(t)
	l.credential("crm", l.bearer(), "s3cret-token")
	good := Probe{Operator: "ann", Caller: "billing", Credential: keybearer.Ref{Scope: "docs", Name: "crm"}, Method: "GET", URL: l.plain() + "/"}
	for name, edit := range map[string]func(*Probe){
		"a line break":        func(p *Probe) { p.URL += "x HTTP/1.1\r\nX-Evil: 1" },
		"a blank":             func(p *Probe) { p.URL += "a b" },
		"a path alone":        func(p *Probe) { p.URL = "/v1" },
		"CONNECT":             func(p *Probe) { p.Method = "CONNECT" },
		"a method of two":     func(p *Probe) { p.Method = "GET / HTTP/1.1\r\n" },
		"nobody's caller":     func(p *Probe) { p.Caller = "" },
		"nobody who sends it": func(p *Probe) { p.Operator = "" },
	} {
		p := good
		edit(&p)
		if _, err := l.proxy.Probe(t.Context(), p); keybearer.CodeOf(err) != keybearer.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(l.seen) > 0 {
		t.Error("something was sent")
	}
	if _, err := l.proxy.Probe(t.Context(), good); err != nil || len(l.proxy.handlers) != 0 {
		t.Errorf("%v, and %d handlers are left", err, len(l.proxy.handlers))
	}
}

func TestAProbeReadsNoMoreOfABodyThanItMay(t *testing.T) {
	l := newLab(t)
	l.credential("crm", l.bearer(), "s3cret-token")
	l.handle = func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(strings.Repeat("x", 3<<20))) }
	seen := l.probe("GET", "crm", l.plain()+"/")
	if seen.Status != http.StatusOK || !seen.Cut || seen.Bytes > probeBody+64<<10 {
		t.Errorf("seen: %+v", seen)
	}
}
