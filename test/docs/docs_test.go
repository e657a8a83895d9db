// Package docs runs what the documentation tells people to type.
package docs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer/test/harness"
)

// elsewhere lists the commands that are not run here, and where they are.
var elsewhere = map[string]string{
	"make test":        "this test is part of it",
	"make check":       "the continuous integration runs it",
	"make bench":       "takes minutes and both processors",
	"make security":    "its tests run with all others; it counts their cases and writes the page anew",
	"make mutate":      "runs the tests of each guarding package a thousand times",
	"make screens":     "its test runs with all others; it draws the pictures anew",
	"make soak":        "takes hours; a small share of it runs with all tests",
	"make docs":        "test/site builds the site with all others",
	"make docs-serve":  "test/site serves the site in the same way",
	"make dist":        "test/packages makes the same with all others",
	"make sample":      "makes what a release leaves behind; test/upgrade opens those that there are",
	"make reliability": "its tests run with all others; it writes the page anew",
}

// Every block marked sh, in every page, is executed as it stands, the blocks of a page one after the other in one shell: in a
// home of its own, where api.example.com is a destination on loopback and $JWT is one of the app billing. Three things are done to the text: 127.0.0.1:9080,
// 127.0.0.1:9081 and 127.0.0.1:9083 (metrics) become the test's own listeners, 18443 becomes a free port, and rules for api.example.com are marked private, as a destination on
// loopback needs. See [block.check] for the blocks that are not run here.
func TestEveryCommandInTheDocumentation(t *testing.T) {
	used := map[string]bool{}
	commands := 0
	for _, page := range pages(t) {
		var script []string
		for _, b := range blocksOf(t, page) {
			if b.language != "sh" || b.mark != "" {
				continue
			}
			for line := range strings.Lines(b.text) {
				if command, _, _ := strings.Cut(line, " #"); elsewhere[strings.TrimSpace(command)] != "" {
					used[strings.TrimSpace(command)] = true
					continue
				}
				script = append(script, line)
			}
		}
		commands += len(script)
		if len(script) > 0 {
			t.Run(page, func(t *testing.T) { newSandbox(t).run(strings.Join(script, "")) })
		}
	}
	for c := range elsewhere {
		if !used[c] {
			t.Errorf("%q is excused and stands nowhere", c)
		}
	}
	if commands < 20 {
		t.Errorf("only %d lines were found", commands)
	}
}

// Every configuration in the documentation is one that Keybearer takes. The blocks of a page are one file.
func TestEveryCaddyfileInTheDocumentation(t *testing.T) {
	binary, err := harness.Binary()
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, page := range pages(t) {
		text := ""
		for _, b := range blocksOf(t, page) {
			if b.language == "caddyfile" {
				text += b.text
			}
		}
		if text == "" {
			continue
		}
		found++
		file := harness.WriteFile(t, filepath.Join(harness.Dir(t), "Caddyfile"), []byte(text))
		if out, err := exec.Command(binary, "adapt", "--config", file).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", page, err, out)
		}
		if out, err := exec.Command(binary, "fmt", "--diff", file).CombinedOutput(); err != nil {
			t.Errorf("%s is not formatted: %v\n%s", page, err, out)
		}
	}
	if found == 0 {
		t.Error("no configuration was found")
	}
}

// inRepository returns what lies at the top of the repository.
func inRepository(t *testing.T) map[string]bool {
	t.Helper()
	entries, err := os.ReadDir(harness.Repository())
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, e := range entries {
		names[e.Name()] = true
	}
	return names
}

// sandbox is a machine as the documentation supposes it: nothing runs, and api.example.com is there.
type sandbox struct {
	t    *testing.T
	k    *harness.Keybearer
	api  *harness.Server
	dir  string
	path string
	jwt  string // of the app billing

	metrics uint16 // port of the metrics
}

func newSandbox(t *testing.T) *sandbox {
	ca, dns := harness.NewCA(t), harness.StartDNS(t)
	s := &sandbox{t: t, dir: harness.Dir(t), metrics: harness.FreePort(t)}
	s.api = harness.StartServer(t, harness.ServerOptions{
		Name: "api", HTTP2: true, TLS: harness.ServerTLS(ca.Issue(t, time.Now().Add(time.Hour), "api.example.com")),
	})
	dns.Set("api.example.com", s.api.Addr.Addr())
	const issuer = "https://idp.example.com"
	key := harness.NewKey(t, "1", "ES256")
	jwks := harness.WriteFile(t, filepath.Join(s.dir, "jwks.json"), harness.JWKS(key))
	s.jwt = key.Sign(t, nil, map[string]any{"iss": issuer, "aud": "keybearer", "sub": "7f3a2c", "exp": time.Now().Add(time.Hour).Unix()})
	s.k = harness.NewKeybearer(t, harness.KeybearerOptions{
		Options: strings.Join([]string{
			"trust " + ca.File, "allow_private 127.0.0.0/8", "resolver " + dns.Addr,
			"identity jwt {", "issuer " + issuer, "jwks_file " + jwks, "audience keybearer", "map 7f3a2c app:billing", "}",
		}, "\n"),
		Sites: "http://:" + strconv.Itoa(int(s.metrics)) + " {\n\tbind 127.0.0.1\n\tmetrics\n}",
	})
	binary, err := harness.Binary()
	if err != nil {
		t.Fatal(err)
	}
	// A keybearer that runs with this world's Caddyfile where the page writes none, and whose other commands wait for the server as a person does who types.
	s.path = filepath.Join(s.dir, "bin")
	if err := os.Mkdir(s.path, 0o755); err != nil {
		t.Fatal(err)
	}
	harness.WriteFile(t, filepath.Join(s.path, "keybearer"), fmt.Appendf(nil, `#!/bin/bash
if [ "$*" = run ]; then exec %[1]s run --config %[2]s --adapter caddyfile 2>>%[3]s/server.log; fi
if [ "$1" = run ]; then exec %[1]s "$@" 2>>%[3]s/server.log; fi
case "$1 $2" in "domain explain") ;; *) for _ in $(seq 200); do [ -S %[4]s ] && break; sleep 0.05; done ;; esac
exec %[1]s "$@"
`, binary, s.k.Config, s.dir, s.k.Socket))
	if err := os.Chmod(filepath.Join(s.path, "keybearer"), 0o755); err != nil {
		t.Fatal(err)
	}
	harness.WriteFile(t, filepath.Join(s.dir, ".curlrc"), []byte("fail-with-body\nsilent\nshow-error\n"))
	return s
}

func (s *sandbox) run(script string) {
	t := s.t
	t.Helper()
	script = strings.ReplaceAll(script, "127.0.0.1:9080", s.k.Proxy.String())
	script = strings.ReplaceAll(script, "127.0.0.1:9081", s.k.Admin.String())
	script = strings.ReplaceAll(script, "127.0.0.1:9083", "127.0.0.1:"+strconv.Itoa(int(s.metrics)))
	script = strings.ReplaceAll(script, "18443", strconv.Itoa(int(harness.FreePort(t))))
	script = strings.ReplaceAll(script, "domain try docs/crm ", "domain try docs/crm --private ")
	script = strings.ReplaceAll(script, "--domain api.example.com", "--domain api.example.com --private")
	uses := strings.Count(script, "http://api.example.com/hook")
	c := exec.CommandContext(t.Context(), "bash", "-euxo", "pipefail", "-c", "trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n"+script)
	c.Dir = harness.Repository()
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	c.Env = append(append(os.Environ(), s.k.Env()...),
		"PATH="+s.path+":"+os.Getenv("PATH"), "JWT="+s.jwt, "HOME="+s.dir, "XDG_CONFIG_HOME="+s.dir, "GOBIN="+filepath.Join(s.dir, "gobin"),
		// The Go command's own files stay where they are, so that nothing is built twice.
		"GOCACHE="+goEnv(t, "GOCACHE"), "GOMODCACHE="+goEnv(t, "GOMODCACHE"), "GOPATH="+goEnv(t, "GOPATH"), "GOENV="+filepath.Join(home, ".config/go/env"))
	before := inRepository(t)
	out, err := c.CombinedOutput()
	for name := range inRepository(t) {
		if !before[name] {
			t.Errorf("the page left %s in the repository", name)
		}
	}
	if err != nil {
		server, _ := os.ReadFile(filepath.Join(s.dir, "server.log"))
		t.Fatalf("%v\n%s\nserver:\n%s", err, out, server)
	}
	arrived := s.api.All()
	for _, a := range arrived {
		if got := a.Values("Authorization"); len(got) != 1 || got[0] != "Bearer s3cret" {
			t.Errorf("arrived with %q", got)
		}
	}
	if len(arrived) != uses {
		t.Errorf("%d requests arrived, the page sends %d\n%s", len(arrived), uses, out)
	}
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}
