package main

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/spf13/cobra"
)

// capability is one thing that people do with credentials, and how it is done with the command line. The test executes it, and sees which operation of the
// admin API it is. The browser tests do the same things in the console.
type capability struct {
	row  string // of the table that says what a credential manager must do
	what string
	line string // run by a shell
	api  string // the operation that does it, its last request: "METHOD /path", without /api/v1
	exit int
	want string // regular expression that the output has, standard error included
}

// asksNobody is in the place of the operation where the command knows by itself.
const asksNobody = "-"

// capabilities follow one another: each finds what those before it have done.
var capabilities = []capability{
	{"scopes", "make a space", `keybearer scope create docs --description manuals`, "POST /scopes", 0, "created scope docs"},
	{"scopes", "make another", `keybearer scope create crm`, "POST /scopes", 0, ""},
	{"scopes", "list", `keybearer scope list -o name`, "GET /scopes", 0, "(?m)^crm\ndocs\nglobal$"},
	{"scopes", "show", `keybearer scope show global`, "GET /scopes/global", 0, "name +global"},
	{"scopes", "describe", `keybearer scope edit docs --description handbooks`, "PATCH /scopes/docs", 0, "changed scope docs"},

	{"scope key", "nothing without one", `printf s3cret | keybearer credential create docs/crm --kind bearer --domain api.example.com`, "POST /scopes/docs/credentials", 5, `\(scope_key_missing\)`},
	{"scope key", "generate", `keybearer scope generate-key docs`, "POST /scopes/docs/key:generate", 0, "generated the key"},
	{"scope key", "once only", `keybearer scope generate-key docs`, "POST /scopes/docs/key:generate", 5, `\(scope_key_exists\)`},
	{"scope key", "of the global scope", `keybearer scope generate-key global`, "POST /scopes/global/key:generate", 0, ""},

	{"kinds", "bearer", `printf s3cret | keybearer credential create docs/crm --kind bearer --domain api.example.com`, "POST /scopes/docs/credentials", 0, "created credential docs/crm"},
	{"kinds", "basic", `printf 'user\npass' | keybearer credential create docs/legacy --kind basic --domain 'https://*.example.com:8443/hooks'`, "POST /scopes/docs/credentials", 0, ""},
	{"kinds", "any other header", `printf k | keybearer credential create docs/aws --kind header --header X-Api-Key --prefix 'Token ' --domain aws.example.com --methods POST`, "POST /scopes/docs/credentials", 0, ""},
	{"kinds", "of everybody", `printf s3cret | keybearer credential create global/slack --kind bearer --domain hooks.slack.com`, "POST /scopes/global/credentials", 0, ""},

	{"any app", "make a caller and its token", `keybearer caller create billing --scope docs`, "POST /callers", 0, "(?m)^kb_[a-z2-7]{52}$"},
	{"any app", "list", `keybearer caller list -o name`, "GET /callers", 0, "(?m)^billing$"},
	{"any app", "show", `keybearer caller show billing`, "GET /callers/billing", 0, "subject +app:billing"},
	{"any app", "describe and limit", `keybearer caller edit billing --description invoices`, "PATCH /callers/billing", 0, ""},
	{"any app", "bind to a space", `keybearer caller bind billing crm`, "PUT /callers/billing/scopes/crm", 0, ""},
	{"any app", "unbind", `keybearer caller unbind billing crm`, "DELETE /callers/billing/scopes/crm", 0, ""},
	{"any app", "a second token", `keybearer caller token add billing --expires 90d`, "POST /callers/billing/tokens", 0, "(?m)^kb_"},
	{"any app", "rotate with an overlap", `keybearer caller token rotate billing --overlap 24h --expires 1d`, "POST /callers/billing/tokens", 0, "older ones end in 24h"},
	{"any app", "revoke one", `keybearer caller revoke billing --token "$(keybearer caller show billing -o json | sed -n 's/.*"id": "\(tok_[^"]*\)".*/\1/p' | head -n 1)"`, "", 0, "revoked token tok_"},
	{"any app", "revoke", `keybearer caller revoke billing`, "DELETE /callers/billing/tokens", 0, "revoked every token"},
	{"any app", "disable", `keybearer caller disable billing`, "POST /callers/billing:disable", 0, ""},
	{"any app", "enable", `keybearer caller enable billing`, "POST /callers/billing:enable", 0, ""},

	{"permissions", "use, to an app", `keybearer grant add docs/crm app:billing use`, "PUT /scopes/docs/credentials/crm/grants", 0, ""},
	{"permissions", "view, to a person", `keybearer grant add docs/crm user:ada view`, "PUT /scopes/docs/credentials/crm/grants", 0, ""},
	{"permissions", "edit, to a group", `keybearer grant add docs/crm group:sales edit`, "PUT /scopes/docs/credentials/crm/grants", 0, ""},
	{"permissions", "administer", `keybearer grant add docs/crm group:admins administer`, "PUT /scopes/docs/credentials/crm/grants", 0, ""},
	{"permissions", "list", `keybearer grant list docs/crm`, "GET /scopes/docs/credentials/crm/grants", 0, "(?s)app:billing +use.*group:admins +administer.*group:sales +edit.*user:ada +view"},
	{"permissions", "show", `keybearer grant show docs/crm app:billing`, "GET /scopes/docs/credentials/crm/grants", 0, "level +use"},
	{"permissions", "take away", `keybearer grant remove docs/crm group:admins`, "DELETE /scopes/docs/credentials/crm/grants", 0, ""},
	{"permissions", "the person too", `keybearer check --caller app:billing --user user:eve docs/crm POST https://api.example.com/hook`, "POST /check", 4, `\(credential_forbidden\)`},

	{"domains", "add, with the secret again", `printf s3cret | keybearer domain add docs/crm hooks.example.com`, "POST /scopes/docs/credentials/crm/destinations", 0, ""},
	{"domains", "list", `keybearer domain list docs/crm`, "GET /scopes/docs/credentials/crm/destinations", 0, "(?s)https://api.example.com.*https://hooks.example.com"},
	{"domains", "show", `keybearer domain show docs/crm https://hooks.example.com`, "GET /scopes/docs/credentials/crm/destinations", 0, ""},
	{"domains", "what a wildcard matches and does not", `keybearer domain explain '**.example.com'`, asksNobody, 0, "(?s)it admits.*but not"},
	{"domains", "take away", `keybearer domain remove docs/crm hooks.example.com`, "DELETE /scopes/docs/credentials/crm/destinations", 0, ""},
	{"domains", "try a narrower one", `keybearer domain try docs/crm https://api.example.com/hook`, "PUT /scopes/docs/credentials/crm/destinations:try", 0, ""},
	{"domains", "what it would refuse", `keybearer domain trial docs/crm`, "GET /scopes/docs/credentials/crm/destinations:try", 0, ""},
	{"domains", "give the trial up", `keybearer domain discard docs/crm`, "DELETE /scopes/docs/credentials/crm/destinations:try", 0, ""},
	{"domains", "try it again", `keybearer domain try docs/crm https://api.example.com/hook`, "PUT /scopes/docs/credentials/crm/destinations:try", 0, ""},
	{"domains", "enforce it", `keybearer domain enforce docs/crm`, "POST /scopes/docs/credentials/crm/destinations:enforce", 0, ""},
	{"domains", "any other is an error", `keybearer check --caller app:billing docs/crm POST https://evil.example/`, "POST /check", 4, `\(destination_not_allowed\)`},
	{"domains", "and which rule admits", `keybearer check --caller app:billing docs/crm POST https://api.example.com/hook`, "POST /check", 0, "rule +https://api.example.com/hook"},
	{"domains", "which the proxy itself says, too", `keybearer credential test docs/crm --caller app:billing https://evil.example/`, "POST /scopes/docs/credentials/crm:test", 4, `(?s)refused \(destination_not_allowed\).*request +req_`},

	{"edit", "the values, which nobody reads", `printf new | keybearer credential set-secret docs/crm`, "PUT /scopes/docs/credentials/crm/secret", 0, `version \d+`},
	{"edit", "back to those before", `keybearer credential rollback docs/crm`, "POST /scopes/docs/credentials/crm:rollback", 0, ""},
	{"edit", "the rest", `keybearer credential edit docs/crm --description sales --expires 90d`, "PATCH /scopes/docs/credentials/crm", 0, ""},
	{"edit", "what was changed", `keybearer credential history docs/crm`, "GET /audit", 0, `credential.rollback`},

	{"search and pick", "by text", `keybearer credential list --search aws.example -o name`, "GET /scopes/-/credentials", 0, "^docs/aws\n$"},
	{"search and pick", "by kind, in a space", `keybearer credential list --scope docs --kind basic -o name`, "GET /scopes/docs/credentials", 0, "^docs/legacy\n$"},
	{"search and pick", "by who may use it", `keybearer credential list --subject app:billing -o name`, "GET /scopes/-/credentials", 0, "^docs/crm\n$"},
	{"search and pick", "those that end soon, or that nobody uses", `keybearer credential list --expiring=100d --unused=0s -o name`, "GET /scopes/-/credentials", 0, "^docs/crm\n$"},
	{"search and pick", "show", `keybearer credential show docs/crm`, "GET /usage", 0, `(?s)grants +app:billing +use.*your level +administer`},

	{"delete", "disable first", `keybearer credential disable docs/crm`, "POST /scopes/docs/credentials/crm:disable", 0, ""},
	{"delete", "refused at once", `keybearer check --caller app:billing docs/crm POST https://api.example.com/hook`, "POST /check", 4, `\(credential_disabled\)`},
	{"delete", "enable", `keybearer credential enable docs/crm`, "POST /scopes/docs/credentials/crm:enable", 0, ""},
	{"delete", "delete", `keybearer credential delete docs/crm`, "DELETE /scopes/docs/credentials/crm", 0, "restore brings it back until"},
	{"delete", "references stop working", `keybearer check --caller app:billing docs/crm POST https://api.example.com/hook`, "POST /check", 4, ``},
	{"delete", "see what was deleted", `keybearer credential list --state deleted -o name`, "GET /scopes/-/credentials", 0, "^docs/crm\n$"},
	{"delete", "restore", `keybearer credential restore docs/crm`, "POST /scopes/docs/credentials/crm:restore", 0, ""},

	{"rotate and regenerate", "rotate, which loses nothing", `keybearer scope rotate-key docs`, "POST /scopes/docs/key:rotate", 0, "to version 2"},
	{"rotate and regenerate", "what would die", `keybearer scope regenerate-key docs --dry-run`, "POST /scopes/docs/key:regenerate", 0, "this would destroy the secrets of 3 credentials"},
	{"rotate and regenerate", "not by surprise", `keybearer scope regenerate-key docs --confirm docs --expected-credentials 2`, "POST /scopes/docs/key:regenerate", 5, `\(count_mismatch\)`},
	{"rotate and regenerate", "regenerate", `keybearer scope regenerate-key docs --confirm docs --expected-credentials 3`, "", 0, "3 secrets destroyed"},
	{"rotate and regenerate", "of that scope and no other", `keybearer credential list -o name`, "GET /scopes/-/credentials", 0, "^global/slack\n$"},
	{"rotate and regenerate", "delete an empty space", `keybearer scope delete docs --confirm docs --expected-credentials 0`, "POST /scopes/docs:delete", 0, ""},

	{"who manages", "a link for the first one", `keybearer operator setup`, "POST /setup", 0, "(?m)^https?://.+$"},
	{"who manages", "make an operator and its token", `keybearer operator create ada --role scope-admin:crm --group sales`, "POST /operators", 0, "(?m)^kbo_[a-z2-7]{52}$"},
	{"who manages", "list", `keybearer operator list`, "GET /operators", 0, "ada +active +scope-admin:crm +sales"},
	{"who manages", "show", `keybearer operator show ada`, "GET /operators/ada", 0, "roles +scope-admin:crm"},
	{"who manages", "roles and groups", `keybearer operator edit ada --role instance-admin --group ''`, "PATCH /operators/ada", 0, ""},
	{"who manages", "a second token", `keybearer operator token add ada`, "POST /operators/ada/tokens", 0, "(?m)^kbo_"},
	{"who manages", "rotate with an overlap", `keybearer operator token rotate ada --overlap 1h --expires 30d`, "POST /operators/ada/tokens", 0, "older ones end in 60m|older ones end in 1h"},
	{"who manages", "revoke one", `keybearer operator revoke ada --token "$(keybearer operator show ada -o json | sed -n 's/.*"id": "\(tok_[^"]*\)".*/\1/p' | head -n 1)"`, "", 0, "revoked token tok_"},
	{"who manages", "revoke", `keybearer operator revoke ada`, "DELETE /operators/ada/tokens", 0, ""},
	{"who manages", "disable", `keybearer operator disable ada`, "POST /operators/ada:disable", 0, ""},
	{"who manages", "enable", `keybearer operator enable ada`, "POST /operators/ada:enable", 0, ""},
	{"who manages", "delete", `keybearer operator delete ada`, "DELETE /operators/ada", 0, ""},
	{"who manages", "delete an app", `keybearer caller delete billing`, "DELETE /callers/billing", 0, ""},
	{"who manages", "who am I", `keybearer whoami`, "GET /whoami", 0, `subject +user:uid-\d+`},

	{"who used what", "all together, by the hour", `keybearer usage`, "GET /usage/activity", 0, "used +0"},
	{"who used what", "one credential", `keybearer usage global/slack --since 7d`, "GET /usage", 0, "used +0"},
	{"who used what", "what somebody should look at", `keybearer attention`, "GET /usage/attention", 0, "unused +global/slack"},
	{"who used what", "the newest events", `keybearer audit tail --event change -n 1000`, "GET /audit", 0, "scope.create"},
	{"who used what", "one request", `keybearer audit show $(keybearer audit tail -n 1 -o name)`, "GET /audit", 0, "action: "},
	{"who used what", "as a table", `keybearer audit export -o csv --event change`, "GET /audit", 0, "(?m)^time,id,phase"},
	{"who used what", "as JSON lines", `keybearer audit export --action caller.delete`, "GET /audit", 0, `"action":"caller.delete"`},
	{"who used what", "how everything is", `keybearer doctor`, "", 0, "(?m)^store +ok"},
}

// besides are commands that are about the server, files and this program, not about what a credential manager does.
var besides = []string{
	"run", "demo", "validate", "fmt", "adapt", "completion", "manpage", "version", "export", "apply", "migrate", "backup", "anchor", "list-modules", "health", "build-info", "environ",
}

// elsewhere are operations that the commands above do not need, and why.
var elsewhere = map[string]string{
	"GET /openapi.json": "describes the others",
	"PUT /scopes/{scope}/credentials/{name}/destinations": "domain add and remove do it rule by rule",
	"POST /scopes/{scope}/key:move":                       "keybearer migrate, which has tests of its own",
	"GET /migrations/keyring":                             "keybearer migrate",
	"GET /migrations/store":                               "keybearer migrate",
	"POST /migrations/store":                              "keybearer migrate",
}

// wire hands the admin API's socket on, and remembers what was asked.
type wire struct {
	mu    sync.Mutex
	asked []string
	ever  map[string]bool
}

func overSocket(path string) *http.Transport {
	return &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
}

func tapSocket(t *testing.T, socket string) (*wire, string) {
	w := &wire{ever: map[string]bool{}}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "keybearer"})
	proxy.Transport = overSocket(socket)
	listener, err := net.Listen("unix", filepath.Join(filepath.Dir(socket), "tap.sock"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		asked := r.Method + " " + strings.TrimPrefix(r.URL.Path, "/api/v1")
		w.asked, w.ever[asked] = append(w.asked, asked), true
		w.mu.Unlock()
		proxy.ServeHTTP(rw, r)
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return w, listener.Addr().String()
}

// reached reports whether an operation, whose path has {names} in it, was ever asked for.
func (w *wire) reached(method, path string) bool {
	form := regexp.MustCompile(`\\\{[a-z]+\\\}`).ReplaceAllString(regexp.QuoteMeta(path), `[^/:]+`)
	asked := regexp.MustCompile("^" + method + " " + form + "$")
	for once := range w.ever {
		if asked.MatchString(once) {
			return true
		}
	}
	return false
}

// last forgets what was asked and returns the last of it.
func (w *wire) last() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.asked) == 0 {
		return ""
	}
	last := w.asked[len(w.asked)-1]
	w.asked = nil
	return last
}

// Everything that a credential manager does can be done with the command line, and each is an operation of the admin API.
func TestEverythingByCommandAndAPI(t *testing.T) {
	home := stockedHome(t, nil)
	server, err := startServer(t.Context(), home, consoleOnSocket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Stop() }()
	w, tapped := tapSocket(t, filepath.Join(home, "admin.sock"))
	for _, c := range capabilities {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", c.line)
		cmd.Dir, cmd.Env = home, append(os.Environ(), "KEYBEARER_HOME="+home, "KEYBEARER_ADDR=unix/"+tapped)
		out, err := cmd.CombinedOutput()
		if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
			t.Fatal(err)
		}
		asked := w.last()
		if got := cmd.ProcessState.ExitCode(); got != c.exit || !regexp.MustCompile(c.want).Match(out) {
			t.Errorf("%s, %s: %s\nexit code %d, want %d; output must match %q:\n%s", c.row, c.what, c.line, got, c.exit, c.want, out)
		}
		if (asked == "") != (c.api == asksNobody) || asked != "" && c.api != "" && asked != c.api {
			t.Errorf("%s, %s: %s\nasked for %q, want %q", c.row, c.what, c.line, asked, c.api)
		}
	}

	// And no operation is left out.
	client := http.Client{Transport: overSocket(filepath.Join(home, "admin.sock"))}
	answer, err := client.Get("http://keybearer/api/v1/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var description struct {
		Paths map[string]map[string]json.RawMessage
	}
	if err := json.NewDecoder(answer.Body).Decode(&description); err != nil || len(description.Paths) < 30 {
		t.Fatal(err, len(description.Paths))
	}
	for path, methods := range description.Paths {
		path = strings.TrimPrefix(path, "/api/v1")
		for method := range methods {
			method = strings.ToUpper(method)
			if excused := elsewhere[method+" "+path] != ""; excused == w.reached(method, path) {
				t.Errorf("%s %s: reached by a command: %v, excused: %v", method, path, excused, excused)
			}
		}
	}
}

// No command is left out of the list above, so that a new one gets its line, and its place in the console.
func TestEveryCommandIsACapability(t *testing.T) {
	var lines strings.Builder
	for _, c := range capabilities {
		lines.WriteString(c.line + " \n")
	}
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		path := strings.TrimPrefix(cmd.CommandPath(), "keybearer")
		path = strings.TrimSpace(path)
		switch {
		case cmd.Hidden || slices.Contains(besides, path):
		case cmd.HasSubCommands():
			for _, sub := range cmd.Commands() {
				walk(sub)
			}
		case !strings.Contains(lines.String(), "keybearer "+path+" "):
			t.Errorf("keybearer %s is nobody's capability", path)
		}
	}
	walk(newCLI().rootCommand())
}
