package examples

import (
	"encoding/json"
	"io"
	"net/http"
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
	proxy := w.userinfo(w.token)
	ran("node/env-proxy.mjs")

	run := func(t *testing.T, p program, url string, env ...string) harness.Result {
		t.Helper()
		c := w.command(t, p.file)
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

// What docs/examples.md says of further clients under HTTP_PROXY.
var heeding = map[string]harness.Command{
	"httpx": {Path: "/usr/bin/python3", Args: []string{"-c", `import os, httpx; print(httpx.post(os.environ["WEBHOOK_URL"], json={"text": "deployed"}).text)`}},
	"urllib": {Path: "/usr/bin/python3", Args: []string{"-c", `import os, urllib.request as u
print(u.urlopen(u.Request(os.environ["WEBHOOK_URL"], b"{}", {"Content-Type": "application/json"})).read().decode())`}},
	"axios": {Path: "node", Dir: file("node"), Args: []string{"--input-type=module", "-e", `import axios from 'axios'
console.log((await axios.post(process.env.WEBHOOK_URL, { text: 'deployed' })).data)`}},
}

func (w *world) heed(t *testing.T) {
	env := []string{"WEBHOOK_URL=http://go.example.com/hook", "HTTP_PROXY=" + w.userinfo(w.token)}
	for name, c := range heeding {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.Env = env
			w.received(t, "go.example.com", "/hook", harness.Run(t, c, "").Stdout)
		})
	}
	t.Run("curl heeds the lower case alone", func(t *testing.T) {
		t.Parallel()
		c := w.command(t, "unchanged/hook.sh")
		c.Env = env
		if r := harness.Run(t, c, ""); r.Code == 0 {
			t.Errorf("HTTP_PROXY was enough: %s", r.Stdout)
		}
	})
}

// userinfo returns the proxy's URL as the pages show it: its user names the credential, and its password is the token.
func (w *world) userinfo(token string) string {
	return "http://docs%2Fcrm:" + token + "@" + w.Proxy.String()
}
