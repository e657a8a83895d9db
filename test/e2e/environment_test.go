package e2e

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/test/harness"
)

// refuses checks that Keybearer does not start, says why in words that hold all of these, and exits with 1.
func (w *world) refuses(t *testing.T, words ...string) {
	t.Helper()
	started := w.TryStart(t) == nil // which the first of its listeners may look like
	select {
	case <-w.Done():
	case <-time.After(10 * time.Second):
		t.Errorf("it did not end (started: %v); it should have said %q", started, words)
		w.Stop(t)
		return
	}
	output := w.Output(t)
	if code := w.ExitCode(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	for _, word := range append(words, "keybearer: error: ") {
		if !strings.Contains(output, word) {
			t.Errorf("the message does not hold %q:\n%s", word, output)
		}
	}
	if strings.Contains(output, "goroutine ") {
		t.Errorf("it panicked:\n%s", output)
	}
}

// serves checks that a request with the credential docs/crm arrives at api.example.com.
func (w *world) serves(t *testing.T, api *harness.Recorder) {
	t.Helper()
	id := newCanary()[5:31]
	a := w.ask(t, request("GET", "http://api.example.com/", "api.example.com", "Keybearer-Credential: docs/crm",
		"Proxy-Authorization: Bearer "+w.tokens["billing"], harness.IDHeader+": "+id))
	if a.StatusCode != 200 {
		t.Fatalf("%s", a.raw)
	}
	w.right(t, api.One(t, id), "docs/crm")
}

// Each way in which the files of a server can be wrong stops it with a message that names the file and the fix; once the file is as
// it was, everything is there again.
func TestWrongFiles(t *testing.T) {
	w := newWorld(t)
	w.billing("api.example.com")
	api := w.recorder("api.example.com", nil)
	w.serves(t, api)
	w.Stop(t)
	home := func(name string) string { return filepath.Join(w.Home, name) }
	database := home("keybearer.db")

	for _, c := range []struct {
		name   string
		damage func(t *testing.T)
		words  []string
	}{
		{"keyring key that is none", replace(home("keyring.key"), "keybearer-kek-v1 not a key\n"), []string{home("keyring.key"), "backup"}},
		{"empty keyring key", replace(home("keyring.key"), ""), []string{home("keyring.key"), "backup"}},
		{"keyring key of another server", replace(home("keyring.key"), "keybearer-kek-v1 "+base64Of(strings.Repeat("k", 32))+"\n"), []string{home("keyring.key")}},
		{"keyring key that others may read", mode(home("keyring.key"), 0o644), []string{"chmod 600 " + home("keyring.key")}},
		{"no keyring key", remove(home("keyring.key")), []string{home("keyring.key"), "backup"}},
		{"ring that others may read", mode(home("keyring.key.ring"), 0o640), []string{"chmod 600 " + home("keyring.key.ring")}},
		{"edited ring", edit(home("keyring.key.ring")), []string{home("keyring.key.ring")}},
		{"cut ring", cut(home("keyring.key.ring"), 0.5), []string{home("keyring.key.ring")}},
		{"no ring", remove(home("keyring.key.ring")), []string{home("keyring.key.ring")}},
		{"database that is none", replace(database, strings.Repeat("this is no database. ", 1000)), []string{database}},
		{"cut database", cut(database, 0.4), []string{database}},
		{"scribbled database", scribble(database), []string{database}},
		{"directory for a database", directory(database), []string{database, "directory"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			kept := filepath.Join(t.TempDir(), "kept")
			copyTree(t, w.Home, kept)
			c.damage(t)
			w.refuses(t, c.words...)
			if err := os.RemoveAll(w.Home); err != nil {
				t.Fatal(err)
			}
			copyTree(t, kept, w.Home)
		})
	}
	w.start()
	w.serves(t, api)
	sweep(t, w.planted, []string{w.Home, w.Log}, nil)
}

func replace(path, content string) func(*testing.T) {
	return func(t *testing.T) {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// edit changes one letter in the middle of a file.
func edit(path string) func(*testing.T) {
	return func(t *testing.T) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		i := bytes.IndexFunc(b[len(b)/2:], unicode.IsLetter) + len(b)/2
		b[i] ^= 'a' ^ 'A'
		replace(path, string(b))(t)
	}
}

func cut(path string, part float64) func(*testing.T) {
	return func(t *testing.T) {
		info, err := os.Stat(path)
		if err == nil {
			err = os.Truncate(path, int64(float64(info.Size())*part))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// scribble overwrites all pages of a database but the first.
func scribble(path string) func(*testing.T) {
	return func(t *testing.T) {
		b, err := os.ReadFile(path)
		if err != nil || len(b) < 3*4096 {
			t.Fatalf("%s of %d bytes: %v", path, len(b), err)
		}
		for i := 4096; i < len(b); i++ {
			b[i] ^= 0x5a
		}
		replace(path, string(b))(t)
	}
}

func mode(path string, m os.FileMode) func(*testing.T) {
	return func(t *testing.T) {
		if err := os.Chmod(path, m); err != nil {
			t.Fatal(err)
		}
	}
}

func remove(path string) func(*testing.T) {
	return func(t *testing.T) {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

func directory(path string) func(*testing.T) {
	return func(t *testing.T) {
		remove(path)(t)
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

// copyTree copies the regular files of a directory with their modes.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if err := os.MkdirAll(to, 0o700); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		source, target := filepath.Join(from, e.Name()), filepath.Join(to, e.Name())
		if e.IsDir() {
			copyTree(t, source, target)
			continue
		}
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue // sockets
		}
		b, err := os.ReadFile(source)
		if err == nil {
			err = os.WriteFile(target, b, info.Mode().Perm())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Configurations that cannot work are refused by run and by validate alike, with the place and the fix, and validate leaves nothing behind.
func TestWrongConfigurations(t *testing.T) {
	w := prepareWorld(t)
	taken, err := net.Listen("tcp", otherAddress().String())
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct {
		name, options, sites string
		running              bool // only run can know
		words                []string
	}{
		{"unknown option", "stoer sqlite x", "", false, []string{"Caddyfile:", `unknown option "stoer"`, "store"}},
		{"option without a value", "resolver", "", false, []string{"Caddyfile:", "resolver needs"}},
		{"no network", "allow_private 10.0.0.1/8", "", false, []string{"allow_private", "10.0.0.0/8"}},
		{"no name server", "resolver dns.example.com", "", false, []string{"resolver", "10.0.0.53:53"}},
		{"missing roots", "trust /nowhere/ca.pem", "", false, []string{"/nowhere/ca.pem"}},
		{"host matcher", "", "http://sidecar.local:9099 {\n\tbind 127.0.0.1\n\tkeybearer\n}", false, []string{"host matcher", "http://:9080"}},
		{"fixed caller for everybody", "", "http://:9099 {\n\tbind 127.0.0.1\n\tkeybearer {\n\t\tcaller app:x\n\t}\n}", false, []string{"shared_host_ok"}},
		{"credential without destination", "", "http://:9099 {\n\tbind 127.0.0.1\n\tkeybearer {\n\t\tcredential docs/crm\n\t}\n}", false, []string{"destination"}},
		{"not a Caddyfile", "", "http://:9099 {", false, []string{"Caddyfile"}},
		{"socket path too long", "admin_socket /tmp/" + strings.Repeat("x", 120), "", false, []string{"admin_socket", "/tmp/xxx"}},
		{"port in use", "", fmt.Sprintf("http://:%d {\n\tbind %s\n\tkeybearer\n}", port(taken), host(taken)), true, []string{"address already in use"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.Configure(t, c.options, c.sites)
			if !c.running {
				r := w.CLI(t, "", "validate", "--config", w.Config, "--adapter", "caddyfile")
				if r.Code != 1 {
					t.Errorf("validate: exit code %d", r.Code)
				}
				for _, word := range append(c.words, "keybearer: error: ") {
					if !strings.Contains(r.Stderr, word) {
						t.Errorf("validate does not say %q:\n%s", word, r.Stderr)
					}
				}
				if left, err := os.ReadDir(w.Home); err == nil && len(left) > 0 {
					t.Errorf("validate left %v", left)
				}
			}
			w.refuses(t, c.words...)
		})
	}
	w.Configure(t, w.options(), "")
	if r := w.CLI(t, "", "validate", "--config", w.Config, "--adapter", "caddyfile"); r.Code != 0 {
		t.Errorf("a right configuration: exit code %d, %s", r.Code, r.Stderr)
	}
	w.start()
}

func otherAddress() net.Addr {
	return &net.TCPAddr{IP: harness.Address().AsSlice(), Port: 9099}
}

func port(l net.Listener) int    { return l.Addr().(*net.TCPAddr).Port }
func host(l net.Listener) string { return l.Addr().(*net.TCPAddr).IP.String() }

// A second server on the same home does not start, and the first serves on.
func TestSecondServer(t *testing.T) {
	w := newWorld(t)
	w.billing("api.example.com")
	api := w.recorder("api.example.com", nil)
	second := &world{
		t: t, ca: w.ca, dns: w.dns,
		Keybearer: harness.NewKeybearer(t, harness.KeybearerOptions{Home: w.Home, Options: w.options()}),
	}
	second.refuses(t, filepath.Join(w.Home, "keybearer.db"), fmt.Sprintf("in use by process %d", w.PID()))
	w.serves(t, api)
	w.must("", "scope", "list")
	w.Restart(t)
	w.serves(t, api)
}

// On a full disk nothing is sent that cannot be recorded and no change is acknowledged that cannot be kept; when there is room again all
// goes on, without a restart.
func TestFullDisk(t *testing.T) {
	w := prepareWorld(t)
	disk := harness.Dir(t)
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=8m,mode=0700"); err != nil {
		t.Fatalf("mount (needs root): %v", err)
	}
	t.Cleanup(func() {
		w.Stop(t)
		if err := unix.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	w.Keybearer = harness.NewKeybearer(t, harness.KeybearerOptions{Home: filepath.Join(disk, "home"), Options: w.options()})
	w.start()
	w.billing("api.example.com")
	api := w.recorder("api.example.com", nil)
	w.serves(t, api)

	filler := filepath.Join(disk, "filler")
	fill(t, filler)
	before := api.Len()
	full := request("GET", "http://api.example.com/", "api.example.com", "Keybearer-Credential: docs/crm", "Proxy-Authorization: Bearer "+w.tokens["billing"])
	harness.Await(t, "refusal on a full disk", 20*time.Second, func() error { // what is left of the last page may still take a few lines
		a := w.ask(t, full)
		if a.StatusCode == 200 {
			before++
			return fmt.Errorf("%s", a.raw)
		}
		isRefusal(t, a, keybearer.AuditUnavailable, 503)
		return nil
	})
	for range 20 {
		isRefusal(t, w.ask(t, full), keybearer.AuditUnavailable, 503)
	}
	if n := api.Len(); n != before {
		t.Errorf("%d requests arrived that were answered with an error", n-before)
	}
	if r := w.CLI(t, "", "scope", "create", "lost"); r.Code != 1 || !strings.Contains(r.Stderr, "keybearer: error: ") {
		t.Errorf("a change on a full disk: exit code %d, %s", r.Code, r.Stderr)
	}
	if r := w.CLI(t, "", "doctor"); r.Code == 0 {
		t.Errorf("doctor finds nothing wrong: %s%s", r.Stdout, r.Stderr)
	}
	remove(filler)(t)
	harness.Await(t, "service when there is room again", 20*time.Second, func() error {
		if a := w.ask(t, full); a.StatusCode != 200 {
			return fmt.Errorf("%s", a.raw)
		}
		return nil
	})
	w.serves(t, api)
	w.must("", "scope", "create", "kept")
	w.must("", "doctor")
	w.Restart(t)
	w.serves(t, api)
	if r := w.CLI(t, "", "scope", "show", "lost"); r.Code != 3 {
		t.Errorf("the change that was refused: exit code %d, %s%s", r.Code, r.Stdout, r.Stderr)
	}
	w.must("", "scope", "show", "kept")
	w.events(t) // every line is whole

	fill(t, filler)
	w.Stop(t)
	if err := w.TryStart(t); err == nil {
		isRefusal(t, w.ask(t, full), keybearer.AuditUnavailable, 503)
		w.Stop(t)
	} else if output := w.Output(t); !strings.Contains(output, "keybearer: error: ") || !strings.Contains(output, w.Home) {
		t.Errorf("start on a full disk: %s", output)
	}
	remove(filler)(t)
	w.start()
	w.serves(t, api)
	w.must("", "scope", "show", "kept")
}

// fill writes a file until its disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, size := range []int{64 << 10, 4 << 10, 1} {
		for err == nil {
			_, err = f.Write(make([]byte, size))
		}
		err = nil
	}
}

// A file that may not grow (RLIMIT_FSIZE) is a full disk: refused, and not the end of the server.
func TestFileSizeLimit(t *testing.T) {
	w := newWorld(t)
	w.billing("api.example.com")
	api := w.recorder("api.example.com", nil)
	w.serves(t, api)
	limit := func(size uint64) {
		r := unix.Rlimit{Cur: size, Max: unix.RLIM_INFINITY}
		if err := unix.Prlimit(w.PID(), unix.RLIMIT_FSIZE, &r, nil); err != nil {
			t.Fatal(err)
		}
	}
	limit(1)
	n := api.Len()
	for range 5 {
		isRefusal(t, w.ask(t, request("GET", "http://api.example.com/", "api.example.com", "Keybearer-Credential: docs/crm",
			"Proxy-Authorization: Bearer "+w.tokens["billing"])), keybearer.AuditUnavailable, 503)
	}
	if api.Len() != n {
		t.Error("a request arrived that was answered with an error")
	}
	limit(unix.RLIM_INFINITY)
	harness.Await(t, "service when files may grow again", 20*time.Second, func() error {
		a := w.ask(t, request("GET", "http://api.example.com/", "api.example.com", "Keybearer-Credential: docs/crm",
			"Proxy-Authorization: Bearer "+w.tokens["billing"]))
		if a.StatusCode != 200 {
			return fmt.Errorf("%s", a.raw)
		}
		return nil
	})
	w.serves(t, api)
	w.events(t)
}

// An audit log on a device that is always full lets nothing through, neither requests nor changes.
func TestAuditToFullDevice(t *testing.T) {
	w := newWorld(t)
	w.billing("api.example.com")
	api := w.recorder("api.example.com", nil)
	w.serves(t, api)
	w.Stop(t)
	w.Configure(t, w.options("audit file /dev/full"), "")
	if err := w.TryStart(t); err != nil {
		if output := w.Output(t); !strings.Contains(output, "/dev/full") {
			t.Errorf("it does not say why it did not start: %s", output)
		}
		return
	}
	for range 3 {
		isRefusal(t, w.ask(t, request("GET", "http://api.example.com/", "api.example.com", "Keybearer-Credential: docs/crm",
			"Proxy-Authorization: Bearer "+w.tokens["billing"])), keybearer.AuditUnavailable, 503)
	}
	if n := api.Len(); n > 1 {
		t.Errorf("%d requests arrived", n-1)
	}
	if r := w.CLI(t, "", "credential", "disable", "docs/crm"); r.Code != 1 || !strings.Contains(r.Stderr, string(keybearer.AuditUnavailable)) {
		t.Errorf("a change that cannot be recorded: exit code %d, %s", r.Code, r.Stderr)
	}
}

// A secret whose stored form was changed, and a store that cannot be read any more, are refused as what they are.
func TestDamageWhileServing(t *testing.T) {
	w := newWorld(t)
	w.billing("api.example.com")
	api := w.recorder("api.example.com", nil)
	w.credential("docs/other", "bearer", private("api.example.com")...)
	w.must(strings.Repeat("long", 10_000), "credential", "set-secret", "docs/other") // in pages of its own, which no other look-up brings into memory
	w.grant("docs/other", "billing", "use")
	get := func(credential string) string {
		return request("GET", "http://api.example.com/", "api.example.com", "Keybearer-Credential: "+credential, "Proxy-Authorization: Bearer "+w.tokens["billing"])
	}
	w.Stop(t)
	database := filepath.Join(w.Home, "keybearer.db")
	b, err := os.ReadFile(database)
	if err != nil {
		t.Fatal(err)
	}
	good := bytes.Clone(b)
	sealed := []byte("local:v1:")
	if bytes.Count(b, sealed) < 2 {
		// The sealed text may be stored encoded; then it is looked for as such.
		sealed = []byte(base64Of("local:v1:"))
	}
	at := 0
	for n := 0; ; n++ {
		i := bytes.Index(b[at:], sealed)
		if i < 0 {
			if n < 2 {
				t.Fatalf("only %d sealed secrets found in the database", n)
			}
			break
		}
		at += i + len(sealed)
		for k := at + 20; k < at+24; k++ {
			b[k] = 'A' + (b[k]+1)%26
		}
	}
	if err := os.WriteFile(database, b, 0o600); err != nil {
		t.Fatal(err)
	}
	w.start()
	isRefusal(t, w.ask(t, get("docs/crm")), keybearer.KeyringUnavailable, 503)
	w.Stop(t)
	if n := api.Len(); n > 0 {
		t.Errorf("%d requests arrived with a secret that does not open", n)
	}
	if err := os.WriteFile(database, good, 0o600); err != nil {
		t.Fatal(err)
	}
	w.start()
	if a := w.ask(t, get("docs/crm")); a.StatusCode != 200 {
		t.Errorf("%s", a.raw)
	}
	scribble(database)(t) // under the running server
	isRefusal(t, w.ask(t, get("docs/other")), keybearer.StoreUnavailable, 503)
	w.Stop(t)
	if err := os.WriteFile(database, good, 0o600); err != nil {
		t.Fatal(err)
	}
	w.start()
	for _, c := range []string{"docs/crm", "docs/other"} {
		if a := w.ask(t, get(c)); a.StatusCode != 200 {
			t.Errorf("%s: %s", c, a.raw)
		}
	}
}
