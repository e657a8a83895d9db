package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/test/harness"
)

func (w *world) hook(token string) string {
	return request("POST", "http://api.example.com/hook", "api.example.com", "Keybearer-Credential: docs/crm", "Proxy-Authorization: Bearer "+token, "Content-Length: 0")
}

// A caller's rate and concurrency, set on the command line, hold for its next request, and end with it; what is refused is never sent, and streams
// keep their place as long as they last.
func TestLimitsOfACaller(t *testing.T) {
	w := newWorld(t)
	w.billing("api.example.com")
	api := w.recorder("api.example.com", nil)

	w.must("", "caller", "edit", "billing", "--rate", "2/h", "--burst", "2")
	token := w.tokens["billing"]
	for range 2 {
		if a := w.ask(t, w.hook(token)); a.StatusCode != 200 {
			t.Fatalf("%s", a.raw)
		}
	}
	a := w.ask(t, w.hook(token))
	isRefusal(t, a, keybearer.RateLimited, 429)
	if wait, err := strconv.Atoi(a.Header.Get("Retry-After")); err != nil || wait < 1700 || wait > 1800 {
		t.Errorf("Retry-After: %q", a.Header.Get("Retry-After"))
	}
	if got := len(api.All()); got != 2 {
		t.Errorf("%d requests arrived", got)
	}
	w.must("", "caller", "edit", "billing", "--rate", "default", "--concurrency", "1")
	if a := w.ask(t, w.hook(token)); a.StatusCode != 200 {
		t.Errorf("%s", a.raw)
	}

	// One stream takes the one place; when it ends, the next comes in.
	started, goOn := make(chan struct{}), make(chan struct{})
	stream := w.server("stream.example.com", harness.ServerOptions{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(rw, "begun\n")
		_ = http.NewResponseController(rw).Flush()
		close(started)
		<-goOn
	})})
	_ = stream
	w.must(w.planted[1], append([]string{"domain", "add", "docs/crm", "stream.example.com"}, "--private")...)
	app := &http.Client{Transport: &http.Transport{Proxy: w.proxyURL()}}
	defer app.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://stream.example.com/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Keybearer-Credential", "docs/crm")
	req.Header.Set("Proxy-Authorization", "Bearer "+token)
	resp, err := app.Do(req)
	if err != nil || resp.StatusCode != 200 {
		t.Fatal(resp, err)
	}
	<-started
	a = w.ask(t, w.hook(token))
	isRefusal(t, a, keybearer.RateLimited, 429)
	if a.Header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After: %q", a.Header.Get("Retry-After"))
	}
	close(goOn)
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Error(err)
	}
	resp.Body.Close()
	harness.Await(t, "the stream's place", 10*time.Second, func() error {
		if a := w.ask(t, w.hook(token)); a.StatusCode != 200 {
			return fmt.Errorf("%s", a.raw)
		}
		return nil
	})
}

// A destination that never answers takes up its share and no more; the limits of the configuration hold for who has none of their own.
func TestLimitsOfTheInstance(t *testing.T) {
	w := newWorld(t, "limits {", "caller_rate 10/h 6", "destination_concurrency 3", "}")
	w.billing("api.example.com", "stalled.example.com")
	w.recorder("api.example.com", nil)
	inside := make(chan struct{}, 10)
	w.server("stalled.example.com", harness.ServerOptions{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		inside <- struct{}{}
		<-r.Context().Done()
	})})
	token := w.tokens["billing"]
	app := &http.Client{Transport: &http.Transport{Proxy: w.proxyURL()}}
	defer app.CloseIdleConnections()
	ctx, giveUp := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	for range 3 {
		waiting.Go(func() {
			req, _ := http.NewRequestWithContext(ctx, "GET", "http://stalled.example.com/", nil)
			req.Header.Set("Keybearer-Credential", "docs/crm")
			req.Header.Set("Proxy-Authorization", "Bearer "+token)
			if resp, err := app.Do(req); err == nil {
				resp.Body.Close()
				t.Error("answered", resp.StatusCode)
			}
		})
		<-inside
	}
	a := w.ask(t, strings.ReplaceAll(w.hook(token), "api.example.com", "stalled.example.com")) // the fourth of six
	isRefusal(t, a, keybearer.RateLimited, 429)
	for range 2 {
		if a := w.ask(t, w.hook(token)); a.StatusCode != 200 {
			t.Fatalf("%s", a.raw)
		}
	}
	a = w.ask(t, w.hook(token))
	isRefusal(t, a, keybearer.RateLimited, 429)
	if wait, _ := strconv.Atoi(a.Header.Get("Retry-After")); wait < 300 || wait > 360 {
		t.Errorf("Retry-After: %q", a.Header.Get("Retry-After"))
	}
	giveUp()
	waiting.Wait()
	other := w.caller("other", "docs")
	w.grant("docs/crm", "other", "use")
	harness.Await(t, "the places of those who gave up", 10*time.Second, func() error {
		if a := w.ask(t, w.hook(other)); a.StatusCode != 200 {
			return fmt.Errorf("%s", a.raw)
		}
		return nil
	})
}

// A flood of tokens that nobody has is answered 407 and then 429, while the app that is known goes on.
func TestAFloodOfUnknownTokens(t *testing.T) {
	w := newWorld(t)
	w.billing("api.example.com")
	api := w.recorder("api.example.com", nil)
	w.serves(t, api)
	app := &http.Client{Transport: &http.Transport{Proxy: w.proxyURL(), MaxIdleConnsPerHost: 16}}
	defer app.CloseIdleConnections()
	var unknown, limited atomic.Int64
	var senders sync.WaitGroup
	for range 8 {
		senders.Go(func() {
			for range 250 {
				secret, _ := keybearer.NewToken(keybearer.CallerTokenPrefix, time.Now())
				req, _ := http.NewRequest("GET", "http://api.example.com/", nil)
				req.Header.Set("Keybearer-Credential", "docs/crm")
				req.Header.Set("Proxy-Authorization", "Bearer "+secret.Reveal())
				resp, err := app.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				switch resp.StatusCode {
				case 407:
					unknown.Add(1)
				case 429:
					limited.Add(1)
					if resp.Header.Get("Retry-After") != "2" {
						t.Errorf("Retry-After: %q", resp.Header.Get("Retry-After"))
					}
				default:
					t.Error(resp.StatusCode)
				}
			}
		})
	}
	for range 20 {
		w.serves(t, api)
	}
	senders.Wait()
	w.serves(t, api)
	if unknown.Load() < 1000 || limited.Load() == 0 {
		t.Errorf("%d told that the token is unknown, %d held up", unknown.Load(), limited.Load())
	}
}

// Narrower rules on trial: nothing is refused, the count survives a restart, and when they are enforced the same request is refused.
func TestATrialFromFirstToLast(t *testing.T) {
	w := newWorld(t)
	w.billing("api.example.com", "other.example.com")
	api := w.recorder("api.example.com", nil)
	token := w.tokens["billing"]
	trial := func() (out struct {
		WouldRefuse []struct {
			Host, Code string
			Count      int
		} `json:"would_refuse"`
	},
	) {
		t.Helper()
		if err := json.Unmarshal([]byte(w.must("", "domain", "trial", "docs/crm", "-o", "json")), &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	w.must("", "domain", "try", "docs/crm", "api.example.com/v1", "--methods", "POST", "--private")
	for range 3 {
		if a := w.ask(t, w.hook(token)); a.StatusCode != 200 {
			t.Fatalf("%s", a.raw)
		}
	}
	if a := w.ask(t, strings.Replace(w.hook(token), "/hook", "/v1/hook", 1)); a.StatusCode != 200 {
		t.Fatalf("%s", a.raw)
	}
	if got := len(api.All()); got != 4 {
		t.Fatalf("%d requests arrived", got)
	}
	counted := func() error {
		got := trial().WouldRefuse
		if len(got) != 1 || got[0].Host != "api.example.com:443" || got[0].Code != "destination_not_allowed" || got[0].Count != 3 {
			return fmt.Errorf("%+v", got)
		}
		return nil
	}
	harness.Await(t, "the count of the trial", 10*time.Second, counted)
	w.Restart(t)
	if err := counted(); err != nil {
		t.Error("after a restart:", err)
	}
	if lines := strings.Fields(w.must("", "audit", "tail", "--would-refuse", "-n", "100", "-o", "name")); len(lines) != 6 {
		t.Errorf("%d lines, want intent and outcome of three", len(lines))
	}
	// Another trial counts anew.
	w.must("", "domain", "try", "docs/crm", "api.example.com/v1", "api.example.com/hook", "--private")
	if got := trial().WouldRefuse; len(got) != 0 {
		t.Errorf("a new trial has %+v", got)
	}
	w.must("", "domain", "try", "docs/crm", "api.example.com/v1", "--methods", "POST", "--private")
	w.must("", "domain", "enforce", "docs/crm")
	isRefusal(t, w.ask(t, w.hook(token)), keybearer.DestinationNotAllowed, 403)
	if a := w.ask(t, strings.Replace(w.hook(token), "/hook", "/v1/hook", 1)); a.StatusCode != 200 {
		t.Errorf("%s", a.raw)
	}
}
