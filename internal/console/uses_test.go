package console

import (
	"context"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

// Whoever copies a line is not whoever wrote the rule that stands in it: a shell gets no more from a path than a word.
func TestALineToCopyRunsNothingOfARule(t *testing.T) {
	const path = "/'$(echo)'&echo&(x)'"
	w := newTown(t)
	n := custody.NewCredential{
		Name: "crm", Kind: keybearer.Bearer, Secret: secret, Rules: []custody.Destination{{Rule: "api.example.com" + path}},
		Grants: []keybearer.Grant{{Subject: "app:billing", Level: keybearer.Use}},
	}
	get[custody.Credential](t)(w.custody.CreateCredential(t.Context(), w.by(w.root), "docs", n))
	w.operator("ann", keybearer.RoleInstanceAdmin)
	p := w.signIn("ann")
	made := p.post("/callers/billing/token", p.get("/callers/billing/token").need("/callers/billing/token"))
	found := 0
	for _, page := range []*answer{p.get("/credentials/docs/crm"), p.get("/credentials/docs/crm/created"), made} {
		page.walk(func(n *html.Node) {
			if n.Type != html.ElementNode || n.Data != "code" || n.FirstChild == nil || !strings.Contains(n.FirstChild.Data, "curl ") {
				return
			}
			line := n.FirstChild.Data
			found++
			words := shell(t, "curl() { printf '%s\\n' \"$@\"; }\n"+line)
			last := words[len(words)-1]
			if u, err := url.Parse(last); err != nil || !strings.HasPrefix(u.Path, path) {
				t.Errorf("%s: %s\nasks for %q", page.path, line, words)
			}
		})
	}
	if made.status != http.StatusCreated || found < 4 {
		t.Errorf("%d lines, %d", found, made.status)
	}
}

// shell returns the lines that a shell prints which finds no program.
func shell(t *testing.T, script string) []string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := exec.CommandContext(ctx, "/bin/sh", "-c", script)
	c.Env = []string{"PATH=/nowhere"}
	out, err := c.CombinedOutput()
	if err != nil {
		t.Errorf("%s\n%v\n%s", script, err, out)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}
