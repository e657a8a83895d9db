package keybearer_test

import (
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/keybearer/keybearer"

// mayImport says which packages of ours a package may import, by prefix. A package that is not listed here is a new room in the
// house: give it a line.
var mayImport = map[string][]string{
	"":                      {},
	"/policy":               {""},
	"/keybearertest":        {""},
	"/internal/fence":       {""},
	"/internal/breaker":     {},
	"/internal/revocation":  {},
	"/internal/anchor":      {""},
	"/internal/inject":      {""},
	"/internal/dial":        {"", "/policy"},
	"/internal/dial/iana":   {},
	"/internal/identity":    {"", "/internal/fence", "/internal/revocation"},
	"/internal/records":     {""},
	"/internal/sqlstore":    {"", "/internal/breaker", "/internal/records"},
	"/internal/localkeys":   {""},
	"/internal/vaultclient": {"", "/internal/breaker"},
	"/internal/process":     {""},
	"/internal/transit":     {"", "/internal/vaultclient"},
	"/internal/vaultkv":     {"", "/internal/vaultclient", "/internal/records"},
	"/internal/audit":       {""},
	"/internal/scrub":       {""},
	"/internal/metrics":     {""},
	"/internal/health":      {""},
	"/internal/proxy":       {"", "/policy", "/internal/fence", "/internal/inject", "/internal/dial", "/internal/scrub", "/internal/revocation", "/internal/metrics"},
	"/internal/custody":     {"", "/policy"},
	"/internal/handover":    {"", "/internal/sqlstore"},
	"/internal/admin":       {"", "/policy", "/internal/custody", "/internal/audit", "/internal/health"},
	"/internal/signin":      {"", "/internal/custody"},
	"/internal/console":     {"", "/policy", "/internal/custody", "/internal/signin", "/internal/audit"},
	"/internal/demo":        {"", "/internal/admin"},
	"/internal/manifest":    {"", "/policy", "/internal/admin"}, // a client of the admin API
	"/caddymodule":          {"*"},
	"/cmd/keybearer":        {"*"},

	// What apps are, in houses of their own.
	"/examples/go/proxy":          {},
	"/examples/go/gateway":        {},
	"/examples/unchanged/hook":    {},
	"/examples/webhooks/receiver": {},
}

// Who may import Caddy, and what the vocabulary and the policy may import at all.
func TestArrowsPointAtTheVocabulary(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		from := strings.TrimPrefix(words[0], module)
		if strings.HasPrefix(from, "/test/") || strings.HasPrefix(from, "/docs/") {
			continue // tests and generators may look at everything
		}
		allowed, ok := mayImport[from]
		if !ok {
			t.Errorf("%s has no line in mayImport", words[0])
			continue
		}
		seen[from] = true
		for _, to := range words[1:] {
			if strings.HasPrefix(to, "github.com/caddyserver/") && from != "/caddymodule" && from != "/cmd/keybearer" {
				t.Errorf("%s imports %s", from, to)
			}
			own, inside := strings.CutPrefix(to, module)
			switch {
			case inside && !permitted(allowed, own):
				t.Errorf("new arrow: %q imports %q", from, own)
			case !inside && (from == "" || from == "/policy") && strings.Contains(strings.SplitN(to, "/", 2)[0], ".") &&
				!(from == "/policy" && (to == "golang.org/x/net/idna" || to == "golang.org/x/net/publicsuffix")):
				t.Errorf("%q imports %s; it may use the standard library only", from, to)
			case !inside && (from == "" || from == "/policy") && to == "net/http":
				t.Errorf("%q knows the wire", from)
			}
		}
	}
	for from := range mayImport {
		if !seen[from] {
			t.Errorf("%q is listed and does not exist", from)
		}
	}
}

func permitted(allowed []string, own string) bool {
	for _, a := range allowed {
		if a == own || a == "*" {
			return true
		}
	}
	return false
}
