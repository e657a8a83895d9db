// Package examples runs every file of examples/ as its reader would: against the real binary, with the receivers of examples/webhooks as
// destinations, on TLS. A file that no test runs fails a test.
package examples

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keybearer/keybearer/test/harness"
)

const (
	secret     = "example-secret-zoh7ahJ0ooso" // what docs/crm holds
	oldSecret  = "example-secret-ieng8Ohtho5u" // what docs/old holds; no receiver takes it
	signingKey = "example-signing-key-Quae4Bai"
)

// world is a Keybearer, the two receivers, and a destination that answers with a redirect.
type world struct {
	*harness.Keybearer
	t         *testing.T
	ca        *harness.CA
	dns       *harness.DNS
	programs  string               // directory of the examples in Go, built
	receivers map[string]*receiver // by host
	moved     *harness.Recorder    // moved.example.com: answers with a redirect
	trap      *harness.Recorder    // where that leads, and where HTTP_PROXY leads in programs that must not heed it
	route     netip.AddrPort       // a listener in route mode, for the caller billing
	token     string               // of the caller billing
}

// receiver is one of examples/webhooks that runs.
type receiver struct {
	*harness.Process
	addr netip.AddrPort
}

// Every example, those that docs/examples.md and docs/webhooks.md show among them. There is one world for all, as it takes longer to start than they do.
func TestExamples(t *testing.T) {
	w := newWorld(t)
	t.Run("clients", w.clients)
	t.Run("unchanged programs", w.unchanged)
	t.Run("further clients", w.heed)
	t.Run("receivers", w.verify)
	t.Run("workflow engines", w.workflows)
	w.swept()
	if !strings.Contains(flag.Lookup("test.run").Value.String(), "/") { // all of it was asked for
		everyFileRan(t)
	}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, ca: harness.NewCA(t), dns: harness.StartDNS(t), programs: build(t), receivers: map[string]*receiver{}}
	w.receiver("go.example.com", filepath.Join(w.programs, "receiver"))
	ran("webhooks/receiver/main.go")
	w.receiver("python.example.com", "/usr/bin/python3", file("webhooks/receiver.py"))
	w.trap = harness.StartRecorder(t, harness.RecorderOptions{Name: "trap"})
	w.moved = harness.StartRecorder(t, harness.RecorderOptions{
		Name: "moved", TLS: harness.ServerTLS(w.ca.Issue(t, time.Time{}, "moved.example.com")),
		Answer: func(*harness.Arrival) []byte {
			return fmt.Appendf(nil, "HTTP/1.1 302 Found\r\nLocation: http://%s/\r\nContent-Length: 0\r\n\r\n", w.trap.Addr)
		},
	})
	w.dns.Set("moved.example.com", w.moved.Addr.Addr())

	w.route = netip.AddrPortFrom(harness.Address(), 9082)
	w.Keybearer = harness.StartKeybearer(t, harness.KeybearerOptions{
		Options: strings.Join([]string{"trust " + w.ca.File, "allow_private 127.0.0.0/8", "resolver " + w.dns.Addr}, "\n"),
		Sites: fmt.Sprintf("http://:%d {\n\tbind %s\n\tkeybearer {\n\t\tcaller app:billing\n\t\tshared_host_ok\n\t\tcredential docs/crm\n\t\tdestination https://go.example.com\n\t}\n}\n",
			w.route.Port(), w.route.Addr()),
	})
	w.Do(t, "", "scope", "create", "docs")
	w.Do(t, "", "scope", "generate-key", "docs")
	w.token = w.Do(t, "", "caller", "create", "billing", "--scope", "docs")
	for name, value := range map[string]string{"docs/crm": secret, "docs/old": oldSecret} {
		w.Do(t, value, "credential", "create", name, "--kind", "bearer", "--private",
			"--domain", "go.example.com", "--domain", "python.example.com", "--domain", "moved.example.com")
		w.Do(t, "", "grant", "add", name, "app:billing", "use")
	}
	return w
}

// receiver starts a receiver for the host, which takes the secret of docs/crm.
func (w *world) receiver(host, program string, args ...string) {
	w.t.Helper()
	dir := harness.Dir(w.t)
	pair := w.ca.Files(w.t, host)
	r := &receiver{addr: netip.AddrPortFrom(harness.Address(), 443)}
	r.Process = harness.Start(w.t, harness.Command{
		Name: host, Path: program, Args: args, Dir: dir, Ready: harness.Accepts(r.addr),
		Env: []string{
			"LISTEN=" + r.addr.String(), "TLS_CERT=" + pair, "TLS_KEY=" + pair,
			"CREDENTIALS_FILE=" + harness.WriteFile(w.t, filepath.Join(dir, "credentials"), []byte("the-next-secret\n"+secret+"\n")),
			"SIGNING_KEY_FILE=" + harness.WriteFile(w.t, filepath.Join(dir, "signing-key"), []byte(signingKey+"\n")),
		},
	})
	for _, a := range args {
		ran(strings.TrimPrefix(a, file("")+"/"))
	}
	w.receivers[host] = r
	w.dns.Set(host, r.addr.Addr())
}

// received checks that what a program printed is the answer to a request that the host's receiver accepted, once.
func (w *world) received(t *testing.T, host, path, printed string) {
	t.Helper()
	var answer struct{ ID string }
	at := strings.Index(printed, "{")
	if at < 0 {
		t.Fatalf("no answer in %q", printed)
	}
	// Some print the object in the way of their language, whose words are these all the same.
	text := strings.NewReplacer("id:", `"id":`, "'", `"`).Replace(printed[at:])
	if err := json.NewDecoder(strings.NewReader(text)).Decode(&answer); err != nil || answer.ID == "" {
		t.Fatalf("no id in %q: %v", printed, err)
	}
	line := "received " + answer.ID + " " + path + "\n"
	harness.Await(t, "line of the receiver", 10*time.Second, func() error {
		if n := strings.Count(w.receivers[host].Output(t), line); n != 1 {
			return fmt.Errorf("%q stands there %d times", line, n)
		}
		return nil
	})
}

// swept checks that the trap is empty, and that no log holds a secret or a token.
func (w *world) swept() {
	w.t.Helper()
	for _, a := range w.trap.All() {
		w.t.Errorf("the trap got %s %s", a.Method, a.Target)
	}
	logs := []string{w.Output(w.t), w.Do(w.t, "", "audit", "tail", "-o", "json")}
	for _, r := range w.receivers {
		logs = append(logs, r.Output(w.t))
	}
	for _, log := range logs {
		w.silent(w.t, log)
	}
}

// silent checks that a text holds neither secret nor token.
func (w *world) silent(t *testing.T, text string) {
	t.Helper()
	for _, s := range []string{secret, oldSecret, signingKey, w.token} {
		if strings.Contains(text, s) {
			t.Errorf("a secret or a token stands in %q", text)
		}
	}
}

// file returns the path of an example.
func file(name string) string {
	return filepath.Join(harness.Repository(), "examples", filepath.FromSlash(name))
}

// build builds the examples in Go into a directory, each under the name of its folder.
func build(t *testing.T) string {
	t.Helper()
	dir := harness.Dir(t)
	c := exec.Command("go", "build", "-o", dir+"/", "./examples/...")
	c.Dir, c.Env = harness.Repository(), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return dir
}

var examplesRun sync.Map

// ran notes that a file of examples/ was run.
func ran(name string) { examplesRun.Store(name, true) }

// everyFileRan fails for each file in examples/ that this run did not use.
func everyFileRan(t *testing.T) {
	t.Helper()
	out, err := exec.Command("git", "-C", file(""), "ls-files", "-co", "--exclude-standard").Output()
	if err != nil {
		t.Fatal(err)
	}
	files := strings.Fields(string(out))
	for _, name := range files {
		switch filepath.Base(name) {
		case "README.md", "package.json", "package-lock.json":
			continue // what the others need
		}
		if _, ok := examplesRun.Load(name); !ok {
			t.Errorf("no test runs examples/%s", name)
		}
	}
	if len(files) < 20 {
		t.Errorf("only %d files were found", len(files))
	}
}
