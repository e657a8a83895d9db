package e2e

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/keybearer/keybearer/test/harness"
)

// newCanary returns a secret that is like no other text, and whose escaped forms all differ from it.
func newCanary() string {
	return "cnry/" + // rand.Text gives 26 letters and digits
		rand.Text() + `+"<&%=` + rand.Text()
}

func base64Of(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// forms returns the ways in which a text may be written down.
func forms(text string) map[string]string {
	quoted, _ := json.Marshal(text) // a string: cannot fail
	m := map[string]string{
		"raw": text, "hex": hex.EncodeToString([]byte(text)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(text))),
		"query": url.QueryEscape(text), "path": url.PathEscape(text), "JSON": string(quoted[1 : len(quoted)-1]),
	}
	if len(text) > 40 {
		m["beginning"], m["end"] = text[5:25], text[len(text)-20:]
	}
	// In base64 a text looks different at each of three places in a longer one, and its ends mix with what is around.
	for at := range 3 {
		whole := base64.RawStdEncoding.EncodeToString(append(make([]byte, at), text...))
		inner := whole[(at*8+5)/6 : len(whole)-2]
		m["base64 at "+string(rune('0'+at))] = inner
		m["base64url at "+string(rune('0'+at))] = strings.NewReplacer("+", "-", "/", "_").Replace(inner)
	}
	return m
}

// find returns the places where one of the secrets is found, in any form: in files under the paths, or in one of the texts.
func find(secrets, paths []string, texts map[string]string) (hits []string, files int, _ error) {
	type needle struct {
		form  string
		bytes []byte
	}
	var needles []needle
	for _, s := range secrets {
		for form, text := range forms(s) {
			needles = append(needles, needle{form, []byte(text)})
		}
	}
	look := func(where string, content []byte) {
		for _, n := range needles {
			if i := bytes.Index(content, n.bytes); i >= 0 {
				hits = append(hits, fmt.Sprintf("%s at byte %d, as %s", where, i, n.form))
			}
		}
	}
	for _, path := range paths {
		err := filepath.WalkDir(path, func(p string, d os.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			content, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			files++
			look(p, content)
			return nil
		})
		if err != nil {
			return hits, files, err
		}
	}
	for where, text := range texts {
		look(where, []byte(text))
	}
	return hits, files, nil
}

// sweep fails the test for each place where find finds one of the secrets, and if there were not even files to search in.
func sweep(t *testing.T, secrets, paths []string, texts map[string]string) {
	t.Helper()
	hits, files, err := find(secrets, paths, texts)
	if err != nil || files == 0 || len(secrets) == 0 {
		t.Errorf("sweep of %d secrets in %d files of %v: %v", len(secrets), files, paths, err)
	}
	for _, hit := range hits {
		t.Errorf("a planted secret stands in %s", hit)
	}
}

// page returns what is served at a path.
func page(t *testing.T, at netip.AddrPort, path string) string {
	t.Helper()
	resp, err := http.Get("http://" + at.String() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The sweep finds a secret in every form that it claims to know, in texts and in files.
func TestSweepFinds(t *testing.T) {
	secret := newCanary()
	found := func(text string) bool {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "file"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		hits, files, err := find([]string{secret}, []string{dir}, map[string]string{"text": text})
		inFile := slices.ContainsFunc(hits, func(h string) bool { return strings.HasPrefix(h, dir) })
		inText := slices.ContainsFunc(hits, func(h string) bool { return strings.HasPrefix(h, "text") })
		if err != nil || files != 1 || inFile != inText {
			t.Errorf("hits %q in %d files, %v", hits, files, err)
		}
		return inText
	}
	for form, text := range forms(secret) {
		for _, around := range []string{"", "x", "yy"} {
			if !found(around + text + around) {
				t.Errorf("%s %q was not found", form, text)
			}
		}
	}
	for at := range 3 {
		if !found(base64Of(strings.Repeat("u", at) + ":" + secret + "\n")) {
			t.Errorf("base64 behind %d bytes was not found", at+1)
		}
	}
	if found(newCanary()) {
		t.Error("another text was taken for the secret")
	}
}

// A whole life of a server, with Caddy's debug log on: whatever is done with secrets and tokens, and whatever goes wrong with them, none
// of them stands in any file that the server leaves, the write-ahead log and what Caddy saves of the configuration among them, in its log, its metrics, the
// stacks that it prints when it crashes, or in any answer of CLI, API or proxy, but where a new token is shown once.
func TestNoSecretIsLeftAnywhere(t *testing.T) {
	w := prepareWorld(t)
	saved, metrics := harness.Dir(t), netip.AddrPortFrom(harness.Address(), 9095)
	w.Keybearer = harness.NewKeybearer(t, harness.KeybearerOptions{
		Options: w.options(), Sites: "http://:9095 {\n\tbind " + metrics.Addr().String() + "\n\tmetrics\n}",
		Env: []string{"XDG_CONFIG_HOME=" + saved, "XDG_DATA_HOME=" + saved, "GOTRACEBACK=all"},
	})
	config, err := os.ReadFile(w.Config)
	if err != nil {
		t.Fatal(err)
	}
	debug := strings.Replace(string(config), "\tadmin off", "\tdebug\n\tadmin off", 1)
	if debug == string(config) {
		t.Fatal("the Caddyfile has no line to put debug before")
	}
	replace(w.Config, debug)(t)
	w.start()
	w.scope("docs")
	w.scope("global")
	for _, host := range []string{"api.example.com", "bad.example.com"} {
		w.recorder(host, func(a *harness.Arrival) []byte {
			echo := strings.Join(append(a.Values("Authorization"), a.Values("X-Api-Key")...), ", ")
			return fmt.Appendf(nil, "HTTP/1.1 500 Oops\r\nX-Echo: %s\r\nWWW-Authenticate: Basic realm=\"%s\"\r\nContent-Length: 0\r\n\r\n", echo, echo)
		})
	}
	w.dns.Set("down.example.com", harness.Address())
	rules := private("*.example.com")
	names := []string{
		w.credential("docs/bearer", "bearer", rules...), w.credential("docs/basic", "basic", rules...),
		w.credential("docs/aws", "X-Api-Key", rules...), w.credential("global/slack", "bearer", rules...),
	}
	w.caller("billing", "docs")
	texts := map[string]string{}
	note := func(what string, r harness.Result) {
		texts[fmt.Sprintf("%d: %s", len(texts), what)] = r.Stdout + r.Stderr
	}
	run := func(code int, stdin string, args ...string) {
		t.Helper()
		r := w.CLI(t, stdin, args...)
		what := "keybearer " + strings.Join(args, " ")
		if r.Code != code {
			t.Errorf("%s: exit code %d, not %d\n%s%s", what, r.Code, code, r.Stdout, r.Stderr)
		}
		note(what, r)
	}
	fresh := func() string {
		s := newCanary()
		w.planted = append(w.planted, s)
		return s
	}
	use := func() {
		for _, name := range names {
			for _, host := range []string{"api.example.com", "down.example.com", "other.example.org", "127.0.0.1"} {
				for _, mode := range modes {
					j := &job{ID: "x", client: "go", mode: mode, Method: "GET", caller: "billing", credential: name, host: host, target: "/?" + w.tokens["billing"]}
					w.address(j)
					var c goClient
					r, err := c.send(j)
					if err != nil {
						t.Error(err)
					}
					c.close()
					texts["answer to "+mode+" "+name+" "+host] = fmt.Sprint(r)
				}
			}
			a := w.ask(t, request("GET", "http://user:"+w.tokens["billing"]+"@api.example.com/", "api.example.com", "Keybearer-Credential: "+name+","+w.tokens["billing"]))
			texts["answer to a malformed request"] = a.raw
		}
	}
	for _, name := range names {
		run(0, "", "grant", "add", name, "app:billing", "use")
	}
	use()
	for _, name := range names {
		secret := fresh()
		if name == "docs/basic" {
			secret = "other\n" + secret
		}
		run(0, secret, "credential", "set-secret", name)
		run(2, secret+"\x01", "credential", "set-secret", name)
		run(2, fresh()+"\nx\ny\r", "credential", "set-secret", name)
		run(5, "", "domain", "add", name, "api.example.org")
		run(0, secret, "domain", "add", name, "api.example.org")
		run(2, secret, "domain", "add", name, fresh())
		run(0, "", "credential", "rollback", name)
		run(0, "", "credential", "disable", name)
		run(0, "", "credential", "enable", name)
		run(0, "", "credential", "show", name, "-o", "json")
		run(0, "", "check", "--caller", "app:billing", name, "POST", "https://api.example.com/hook")
		run(4, "", "check", "--caller", "app:billing", name, "POST", "https://elsewhere.example/hook")
		run(0, "", "credential", "test", name, "--caller", "app:billing", "https://api.example.com/?"+w.tokens["billing"])
		run(4, "", "credential", "test", name, "--caller", "app:billing", "https://elsewhere.example/?"+w.tokens["billing"], "-o", "json")
		run(2, "", "credential", "test", name, "--caller", "app:"+fresh(), "https://api.example.com/")
	}
	run(2, "Bearer "+fresh(), "credential", "create", "docs/prefixed", "--kind", "bearer", "--domain", "api.example.com")
	run(5, fresh(), "credential", "create", "docs/bearer", "--kind", "bearer", "--domain", "api.example.com")
	run(3, fresh(), "credential", "create", "nowhere/x", "--kind", "bearer", "--domain", "api.example.com")
	run(2, "", "credential", "create", "docs/flag", "--kind", "bearer", "--secret", fresh())
	use()
	run(0, "", "scope", "rotate-key", "docs")
	w.Reload()
	use()
	run(0, "", "credential", "delete", "docs/aws", "--force")
	w.Kill()
	w.start()
	use()
	for _, args := range [][]string{
		{"credential", "list", "-o", "json"},
		{"credential", "list", "--deleted"},
		{"scope", "list", "-o", "yaml"},
		{"caller", "list", "-o", "json"},
		{"caller", "show", "billing"},
		{"audit", "tail", "-o", "json"},
		{"audit", "tail"},
		{"doctor"},
		{"scope", "regenerate-key", "docs", "--dry-run"},
	} {
		run(0, "", args...)
	}
	run(0, "", "scope", "regenerate-key", "global", "--confirm", "global", "--expected-credentials", "1")
	run(0, "", "anchor", "show", "--config", w.Config, "--adapter", "caddyfile")
	run(0, "", "adapt", "--config", w.Config, "--adapter", "caddyfile", "--pretty")
	run(0, "", "export")
	for _, path := range []string{"/metrics", "/debug/pprof/heap?debug=1", "/debug/pprof/goroutine?debug=2"} {
		texts[path] = page(t, metrics, path)
	}
	if !strings.Contains(texts["/metrics"], "go_goroutines") {
		t.Errorf("no metrics: %s", texts["/metrics"])
	}
	if info, err := os.Stat(filepath.Join(w.Home, "keybearer.db-wal")); err != nil || !info.Mode().IsRegular() {
		t.Errorf("there is no write-ahead log to look into: %v", err)
	}
	everything := []string{w.Home, w.Log, filepath.Dir(w.Config), saved}
	sweep(t, w.planted, everything, texts)
	use()
	w.Signal(syscall.SIGABRT)
	<-w.Done()
	if !strings.Contains(w.Output(t), "goroutine ") {
		t.Error("it printed no stacks")
	}
	sweep(t, w.planted, everything, texts)
	w.start()
	w.Stop(t)
	sweep(t, w.planted, append(everything, w.Log), nil)
	if found, err := filepath.Glob(filepath.Join(saved, "*", "autosave.json")); err != nil || len(found) > 0 {
		t.Errorf("the configuration was saved: %v, %v", found, err)
	}
	if files, err := filepath.Glob(filepath.Join(w.Home, "*")); err != nil || len(files) < 4 {
		t.Errorf("the home holds %v, %v", files, err)
	}
}
