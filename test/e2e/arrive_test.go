package e2e

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keybearer/keybearer/test/harness"
)

// 10,000 requests by all clients in all modes at 64 connections, to nginx, HAProxy and Go over both versions of HTTP: every one
// arrives exactly once with exactly the header of its credential, and those that are refused arrive nowhere.
func TestEveryRequestArrivesOnce(t *testing.T) {
	w := newWorld(t)
	destinations := map[string]func() []*harness.Arrival{}
	for _, v := range []struct {
		version string
		http2   bool
	}{{"1", false}, {"2", true}} {
		nginx := harness.StartNginx(t, w.ca, "nginx"+v.version+".example.com", v.http2)
		haproxy := harness.StartHAProxy(t, w.ca, "haproxy"+v.version+".example.com", v.http2)
		w.dns.Set("nginx"+v.version+".example.com", nginx.Addr.Addr())
		w.dns.Set("haproxy"+v.version+".example.com", haproxy.Addr.Addr())
		destinations["nginx"+v.version+".example.com"] = func() []*harness.Arrival { return nginx.All(t) }
		destinations["haproxy"+v.version+".example.com"] = haproxy.All
	}
	destinations["go1.example.com"] = w.recorder("go1.example.com", nil).All
	destinations["go2.example.com"] = w.server("go2.example.com", harness.ServerOptions{HTTP2: true}).All
	other := w.recorder("other.example.net", nil)
	destinations["other.example.net"] = other.All // admitted by no rule
	var hosts []string
	for host := range destinations {
		if host != "other.example.net" {
			hosts = append(hosts, host)
		}
	}

	w.scope("docs")
	w.scope("global")
	rule := private("*.example.com")
	credentials := []string{
		w.credential("docs/bearer", "bearer", rule...), w.credential("docs/basic", "basic", rule...),
		w.credential("docs/aws", "X-Api-Key", rule...), w.credential("global/slack", "bearer", rule...),
	}
	w.caller("billing", "docs")
	w.caller("shop", "docs")
	w.caller("stranger", "docs") // holds no grant
	for _, c := range credentials {
		w.grant(c, "billing", "use")
		w.grant(c, "shop", "edit")
	}

	const total, scripted, refused = 10_000, 400, 40 // scripted and refused: of each client but Go, and of each client
	jobs := map[string][]*job{}
	byID := map[string]*job{}
	add := func(client string, n int, bad bool) {
		for range n {
			j := &job{
				ID: fmt.Sprintf("r%05d", len(byID)), client: client, refused: bad,
				Method: pick("GET", "POST", "POST", "PUT", "PATCH", "DELETE"), mode: pick(modes...), caller: pick("billing", "shop"),
				credential: pick(credentials...), host: pick(hosts...),
				target: pick("/", "/hook", "/a/b?x=1&y=%20z;q", "/p%2Fq?", "/deep/path/to/thing?"+strings.Repeat("k=v&", 50)),
			}
			if j.Method != "GET" && j.Method != "DELETE" {
				j.Body = fmt.Sprintf(`{"id":%q,"pad":"%s"}`, j.ID, strings.Repeat("x", rand.IntN(4000)))
			}
			if bad && rand.IntN(2) == 0 {
				j.host = "other.example.net"
			} else if bad {
				j.caller = "stranger"
			}
			w.address(j)
			jobs[client], byID[j.ID] = append(jobs[client], j), j
		}
	}
	for _, client := range clients {
		n := scripted
		if client == "go" {
			n = total - scripted*(len(clients)-1)
		}
		add(client, n, false)
		add(client, refused, true)
		rand.Shuffle(len(jobs[client]), func(i, k int) { jobs[client][i], jobs[client][k] = jobs[client][k], jobs[client][i] })
	}

	began := time.Now()
	results := make([]map[string]result, len(clients))
	var wg sync.WaitGroup
	for i, client := range clients {
		width := 4
		if client == "go" {
			width = 64 - 4*(len(clients)-1)
		}
		wg.Go(func() { results[i] = send(t, client, jobs[client], width) })
	}
	wg.Wait()
	t.Logf("%d requests in %v", len(byID), time.Since(began).Round(time.Millisecond))

	count := func() (n int) {
		for _, all := range destinations {
			n += len(all())
		}
		return n
	}
	harness.Await(t, "all arrivals", 20*time.Second, func() error {
		if n := count(); n < total {
			return fmt.Errorf("%d of %d", n, total)
		}
		return nil
	})
	for i := range clients {
		for id, r := range results[i] {
			w.checkResult(t, byID[id], r)
		}
		if len(results[i]) != len(jobs[clients[i]]) {
			t.Errorf("%s: %d results of %d requests", clients[i], len(results[i]), len(jobs[clients[i]]))
		}
	}
	seen := map[string]int{}
	for host, all := range destinations {
		for _, a := range all() {
			j := byID[a.ID()]
			if j == nil {
				t.Errorf("%s: a request that nobody sent: %+v", host, a)
				continue
			}
			seen[j.ID]++
			w.checkArrival(t, j, host, a)
		}
	}
	for id, j := range byID {
		if want := map[bool]int{false: 1, true: 0}[j.refused]; seen[id] != want {
			t.Errorf("request %s (%s, %s, %s for %s at %s) arrived %d times", id, j.client, j.mode, j.caller, j.credential, j.host, seen[id])
		}
	}
	w.checkAudit(t, total, refused*len(clients))
}

func pick(of ...string) string { return of[rand.IntN(len(of))] }

func (w *world) checkResult(t *testing.T, j *job, r result) {
	t.Helper()
	switch {
	case j.refused:
		if r.Status != 403 || !strings.HasPrefix(r.By, "keybearer; error=http_request_denied") || r.Answered != "" {
			t.Errorf("%s, %s: refused request %s was answered %+v", j.client, j.mode, j.ID, r)
		}
	case r.Status != 200 || r.Answered != j.ID || r.By != "keybearer; received-status=200" || r.Body != "ok":
		t.Errorf("%s, %s: request %s to %s was answered %+v", j.client, j.mode, j.ID, j.host, r)
	}
}

func (w *world) checkArrival(t *testing.T, j *job, host string, a *harness.Arrival) {
	t.Helper()
	target := j.target
	if j.client != "go" { // the others write an URL without the "?" of an empty query, in some modes
		target, a.Target = strings.TrimSuffix(target, "?"), strings.TrimSuffix(a.Target, "?")
	}
	if host != j.host || a.Method != j.Method || a.Target != target || a.Host != j.host {
		t.Errorf("%s, %s: request %s %s %s%s arrived at %s as %s %s for %s", j.client, j.mode, j.ID, j.Method, j.host, j.target, host, a.Method, a.Target, a.Host)
	}
	if a.Body != nil && string(a.Body) != j.Body {
		t.Errorf("%s, %s: the body of request %s arrived as %q", j.client, j.mode, j.ID, a.Body)
	}
	w.right(t, a, j.credential)
}
