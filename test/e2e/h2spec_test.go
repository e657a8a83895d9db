package e2e

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/keybearer/keybearer/test/harness"
)

// Listeners, plain and with TLS, speak HTTP/2 as its specification asks (h2spec: RFC 9113, RFC 7541). Whatever they do otherwise is explained.
func TestHTTP2(t *testing.T) {
	dir := harness.Dir(t)
	tool := filepath.Join(dir, "h2spec")
	build := exec.Command("go", "build", "-mod=readonly", "-o", tool, ".")
	build.Dir = filepath.Join(harness.Repository(), "test", "h2spec")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build h2spec: %v\n%s", err, out)
	}
	ca := harness.NewCA(t)
	pair, port := ca.Files(t, "127.0.0.1", "localhost"), harness.FreePort(t)
	k := harness.NewKeybearer(t, harness.KeybearerOptions{Sites: fmt.Sprintf("https://:%d {\n\tbind 127.0.0.1\n\ttls %s %s\n\tkeybearer\n}", port, pair, pair)})
	config, err := os.ReadFile(k.Config)
	if err != nil {
		t.Fatal(err)
	}
	const protocols = "protocols h1 h2c"
	if !bytes.Contains(config, []byte(protocols)) {
		t.Fatal("the Caddyfile does not say which protocols its listeners speak")
	}
	config = bytes.Replace(config, []byte(protocols), []byte("protocols h1 h2 h2c"), 1)
	config = bytes.Replace(config, []byte("\tadmin off"), []byte("\tauto_https disable_redirects\n\tadmin off"), 1)
	harness.WriteFile(t, k.Config, config)
	if err := k.TryStart(t); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for name, args := range map[string][]string{
		"h2c": {"-host", k.Proxy.Addr().String(), "-port", fmt.Sprint(k.Proxy.Port())},
		"tls": {"-tls", "-port", fmt.Sprint(port)},
	} {
		t.Run(name, func(t *testing.T) {
			tried, failed := h2spec(t, tool, append(args, "-timeout", "1s"))
			if tried < 140 {
				t.Errorf("only %d rules were tried", tried)
			}
			var again []string
		rules:
			for rule := range failed {
				for _, key := range []string{rule, name + " " + rule} {
					if explained[key] != "" {
						seen[key] = true
						continue rules
					}
				}
				again = append(again, rule)
			}
			for _, rule := range again { // a busy machine does not answer within a second
				retried, failed := h2spec(t, tool, slices.Concat(args, []string{"-timeout", "10s", rule}))
				if retried != 1 {
					t.Errorf("%s was tried %d times", rule, retried)
				}
				for _, what := range failed {
					t.Errorf("%s: %s", rule, what)
				}
			}
			t.Logf("%d rules, not kept: %q", tried, slices.Sorted(maps.Keys(failed)))
		})
	}
	for rule, why := range explained {
		if !seen[rule] && !strings.HasPrefix(why, "now and then: ") {
			t.Errorf("%s is kept, and explained", rule)
		}
	}
}

// explained are rules that are not kept to the letter, or to those of h2spec 2.2.1, and why that is well.
var explained = map[string]string{
	"h2c http2/3.5/2": "the plain listener speaks HTTP/1.1 too: what is no preface is a request of that, and is answered 400",
	"http2/4.2/3":     "the frame is not longer than the server allows in its settings (1 MiB): its fields are, and are answered 431",
	"http2/6.5.3/1":   "the same setting twice is a way to keep a server busy: Go's ends the connection",
	"http2/8.1.2.2/1": "Go's server answers 400 (RFC 9113 section 8.1.1 lets it) and hands the request to nobody",
	"http2/8.1.2.2/2": "the same",
	"http2/8.1.2.6/1": "now and then: a request without a proof of its caller is refused before its body has come, wrong length or not",
	"http2/8.1.2.6/2": "now and then: the same",
}

// h2spec runs the tool and returns how many rules it tried, and which were broken.
func h2spec(t *testing.T, tool string, args []string) (tried int, failed map[string]string) {
	t.Helper()
	file := filepath.Join(harness.Dir(t), "report.xml")
	if out, err := exec.Command(tool, append([]string{"-report", file}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		Suites []struct {
			Package string `xml:"package,attr"`
			Cases   []struct {
				Name    string    `xml:"classname,attr"`
				Failure *string   `xml:"failure"`
				Error   *string   `xml:"error"`
				Skipped *struct{} `xml:"skipped"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(text, &report); err != nil {
		t.Fatal(err)
	}
	failed = map[string]string{}
	for _, s := range report.Suites {
		for i, c := range s.Cases {
			rule := fmt.Sprintf("%s/%d", s.Package, i+1)
			switch {
			case c.Skipped != nil:
				continue
			case c.Failure != nil:
				failed[rule] = c.Name + ": " + *c.Failure
			case c.Error != nil:
				failed[rule] = c.Name + ": " + *c.Error
			}
			tried++
		}
	}
	return tried, failed
}
