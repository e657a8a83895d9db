package examples

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/keybearer/keybearer/test/harness"
)

// program is one that has never heard of Keybearer.
type program struct {
	file string
	env  []string // what it needs beside HTTP_PROXY and NO_PROXY
	// heeds says whether it takes a proxy from the environment, alone whether one for an address of loopback.
	heeds, alone bool
}

var unchanged = []program{
	{file: "unchanged/hook.sh", heeds: true, alone: true},
	{file: "unchanged/hook.py", heeds: true, alone: true},
	{file: "unchanged/hook.mjs", heeds: true, alone: true, env: []string{"NODE_OPTIONS=--import " + file("node/env-proxy.mjs")}},
	{file: "unchanged/hook/main.go", heeds: true}, // Go asks no proxy for loopback
	{file: "unchanged/Hook.java"},                 // Java's client has no eye for the environment
}

// A whole container goes through Keybearer by its environment, and what NO_PROXY names goes by; what takes no proxy from there has a base URL.
func (w *world) unchanged(t *testing.T) {
	beside := harness.StartServer(t, harness.ServerOptions{Name: "beside", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_ = json.NewEncoder(w).Encode(map[string]string{"id": "beside"})
	})})
	proxy := (&url.URL{Scheme: "http", User: url.UserPassword("docs/crm", w.token), Host: w.Proxy.String()}).String()
	if !strings.Contains(proxy, "http://docs%2Fcrm:kb_") {
		t.Fatalf("the proxy's URL is not what the pages show")
	}
	ran("node/env-proxy.mjs")

	run := func(t *testing.T, p program, url string, env ...string) harness.Result {
		t.Helper()
		c := command(t, p.file)
		c.Env = append(append(append([]string{"HOME=" + c.Dir, "WEBHOOK_URL=" + url}, p.env...), "HTTP_PROXY="+proxy, "http_proxy="+proxy), env...)
		r := harness.Run(t, c, "")
		w.silent(t, r.Stdout+r.Stderr)
		return r
	}
	t.Cleanup(func() {
		for _, a := range beside.All() {
			if len(a.Values("Authorization"))+len(a.Values("Proxy-Authorization")) > 0 {
				t.Error("a request beside Keybearer had a proof or a credential")
			}
		}
	})
	for _, p := range unchanged {
		t.Run(p.file, func(t *testing.T) {
			t.Parallel()
			if p.heeds {
				for host := range w.receivers {
					w.received(t, host, "/hook", run(t, p, "http://"+host+"/hook").Stdout)
				}
			} else if r := run(t, p, "http://go.example.com/hook"); r.Code == 0 {
				t.Errorf("it found its way without a proxy: %s", r.Stdout)
			}

			direct := "http://" + beside.Addr.String() + "/"
			if r := run(t, p, direct, "NO_PROXY="+beside.Addr.Addr().String()); r.Code != 0 || !strings.Contains(r.Stdout, "beside") {
				t.Errorf("with NO_PROXY: exit code %d: %s%s", r.Code, r.Stdout, r.Stderr)
			}
			if r := run(t, p, direct); p.alone != (r.Code != 0 && strings.Contains(r.Stdout, "destination_not_allowed")) {
				t.Errorf("without NO_PROXY: exit code %d: %s%s", r.Code, r.Stdout, r.Stderr)
			}

			w.received(t, "go.example.com", "/hook", run(t, p, "http://"+w.route.String()+"/hook", "NO_PROXY="+w.route.Addr().String()).Stdout)
		})
	}
}
