package examples

import (
	"encoding/base64"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer/test/harness"
)

// client is an example that sends a webhook.
type client struct {
	file string // in examples/
	hint string // what it says of a wrong token, where its library drops the body of a 407; "": what Keybearer says
}

var clients = []client{
	{file: "curl/proxy.sh"},
	{file: "curl/gateway.sh"},
	{file: "python/requests_proxy.py"},
	{file: "python/requests_gateway.py"},
	{file: "python/httpx_proxy.py"},
	{file: "python/httpx_gateway.py"},
	{file: "python/urllib_proxy.py"},
	{file: "python/urllib_gateway.py"},
	{file: "node/fetch-proxy.mjs", hint: "KEYBEARER_TOKEN must be a caller's token"},
	{file: "node/fetch-gateway.mjs"},
	{file: "node/axios-proxy.mjs"},
	{file: "node/axios-gateway.mjs"},
	{file: "go/proxy/main.go"},
	{file: "go/gateway/main.go"},
	{file: "java/Proxy.java"},
	{file: "java/Gateway.java"},
}

// command returns how a file of examples/ is run.
func (w *world) command(t *testing.T, name string) harness.Command {
	t.Helper()
	ran(name)
	c := harness.Command{Dir: harness.Dir(t)}
	switch path := file(name); filepath.Ext(name) {
	case ".sh":
		c.Path = path
	case ".py":
		c.Path, c.Args = "/usr/bin/python3", []string{path} // Debian's, which has Debian's requests and httpx
	case ".mjs":
		c.Path, c.Args = "node", []string{path}
	case ".java":
		c.Path, c.Args = "java", []string{"-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", path}
	case ".go":
		c.Path = filepath.Join(w.programs, filepath.Base(filepath.Dir(name)))
	default:
		t.Fatalf("nobody knows how to run %s", name)
	}
	return c
}

// onTheWire checks what Keybearer gets to see of a client: one request, in absolute form without a tunnel or else in origin form, with one
// proof of the caller and one name of a credential, and without anything that Keybearer would have to remove.
func (w *world) onTheWire(t *testing.T, name string) {
	t.Helper()
	seen := harness.StartRecorder(t, harness.RecorderOptions{Name: "keybearer's place"})
	if r := w.sendTo(t, seen.Addr, name, "go.example.com", "docs/crm", w.token); r.Code != 0 || !strings.Contains(r.Stdout, "ok") {
		t.Errorf("exit code %d: %s", r.Code, r.Stderr)
	}
	bearer, basic := "Bearer "+w.token, "Basic "+base64.StdEncoding.EncodeToString([]byte("_:"+w.token))
	for i, a := range seen.All() {
		proof, target := a.Values("Authorization"), "/hook"
		destination := []string{"https://go.example.com"}
		if strings.Contains(strings.ToLower(name), "proxy") {
			proof, target, destination = a.Values("Proxy-Authorization"), "http://go.example.com/hook", nil
		}
		if i > 0 || a.Method != "POST" || a.Target != target {
			t.Errorf("request %d: %s %s", i, a.Method, a.Target)
		}
		if len(proof) != 1 || proof[0] != bearer && proof[0] != basic {
			t.Errorf("the caller is proved by %d fields", len(proof))
		}
		if d := cmp.Diff([]string{"docs/crm"}, a.Values("Keybearer-Credential")); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff(destination, a.Values("Keybearer-Destination")); d != "" {
			t.Error(d)
		}
		if string(a.Body) != `{"text": "deployed"}` && string(a.Body) != `{"text":"deployed"}` || !strings.HasPrefix(strings.Join(a.Values("Content-Type"), ","), "application/json") {
			t.Errorf("the body is %q", a.Body)
		}
		for _, unasked := range []string{"Upgrade", "Expect", "HTTP2-Settings"} {
			if len(a.Values(unasked)) > 0 {
				t.Errorf("%s is sent", unasked)
			}
		}
	}
	if seen.Len() == 0 {
		t.Error("nothing arrived")
	}
}

// send runs a client with what its reader sets.
func (w *world) send(t *testing.T, name, host, credential, token string) harness.Result {
	t.Helper()
	return w.sendTo(t, w.Proxy, name, host, credential, token)
}

func (w *world) sendTo(t *testing.T, keybearer netip.AddrPort, name, host, credential, token string) harness.Result {
	t.Helper()
	c := w.command(t, name)
	c.Env = w.reader(c.Dir, keybearer, host, credential, token)
	r := harness.Run(t, c, "")
	w.silent(t, r.Stdout+r.Stderr)
	return r
}

// reader returns the environment of who follows the page, with traps: a proxy, a host to ask without one, and a .netrc, of which no
// example must heed any.
func (w *world) reader(home string, keybearer netip.AddrPort, host, credential, token string) []string {
	harness.WriteFile(w.t, filepath.Join(home, ".netrc"), []byte("default login wrong password wrong\n"))
	trap := "http://" + w.trap.Addr.String()
	return []string{
		"HOME=" + home, "HTTP_PROXY=" + trap, "http_proxy=" + trap, "NO_PROXY=python.example.com", "no_proxy=python.example.com",
		"KEYBEARER_URL=http://" + keybearer.String(), "KEYBEARER_TOKEN=" + token, "KEYBEARER_CREDENTIAL=" + credential, "WEBHOOK_HOST=" + host,
	}
}

func (w *world) clients(t *testing.T) {
	for _, c := range clients {
		t.Run(c.file, func(t *testing.T) {
			t.Parallel()
			for host := range w.receivers {
				if r := w.send(t, c.file, host, "docs/crm", w.token); r.Code != 0 || r.Stderr != "" {
					t.Errorf("%s: exit code %d: %s", host, r.Code, r.Stderr)
				} else {
					w.received(t, host, "/hook", r.Stdout)
				}
			}
			w.onTheWire(t, c.file)
			hint := c.hint
			if hint == "" {
				hint = "send the caller's token in"
			}
			w.fails(t, c.file, "other.example.com", "docs/crm", w.token, "keybearer: ", "destination_not_allowed", "keybearer domain add")
			w.fails(t, c.file, "go.example.com", "docs/crm", "kb_wrong", "keybearer: ", "caller_unauthenticated", hint)
			w.fails(t, c.file, "go.example.com", "docs/old", w.token, "the destination answered 401")
			w.fails(t, c.file, "moved.example.com", "docs/crm", w.token, "the destination answered 302")
		})
	}
}

// fails runs a client whose request comes to nothing, and checks what it says of that.
func (w *world) fails(t *testing.T, name, host, credential, token string, says ...string) {
	t.Helper()
	r := w.send(t, name, host, credential, token)
	if r.Code == 0 || r.Stdout != "" {
		t.Errorf("%s, %s: exit code %d, and printed %q", host, credential, r.Code, r.Stdout)
	}
	for _, s := range says {
		if !strings.Contains(r.Stderr, s) {
			t.Errorf("%s, %s: says nothing of %q: %s", host, credential, s, r.Stderr)
		}
	}
	if strings.HasPrefix(says[0], "the destination") && strings.Contains(r.Stderr, "keybearer:") {
		t.Errorf("takes the destination's answer for Keybearer's: %s", r.Stderr)
	}
}
