package browser

import (
	"fmt"
	"hash/fnv"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/sqlstore"
	"github.com/keybearer/keybearer/test/harness"
)

// newSample starts a server with testdata/sample.yaml, requests that were sent and refused, and a week of use before them. The operator ada, an instance
// admin, made it all.
func newSample(t *testing.T) *world {
	t.Helper()
	w := newEmpty(t)
	manifest := w.manifest()
	w.as("apply", "-f", w.file("sample.yaml", manifest))
	shop, sync := w.as("caller", "token", "add", "shop"), w.as("caller", "token", "add", "nightly-sync")
	w.as("caller", "token", "add", "shop") // a rotation that has not come to its end
	w.destinations()
	w.sends(before(shop, sync))
	w.as("apply", "-f", w.file("sample.yaml", strings.ReplaceAll(manifest, ", private: true", "")))
	w.tokens["cleo"] = w.as("operator", "token", "add", "cleo")
	w.as("domain", "try", "orders/payments", "https://api.payments.example.com/charges", "--methods", "POST")
	w.as("credential", "delete", "orders/summer-sale")
	w.Stop(t)
	w.history()
	if err := w.TryStart(t); err != nil {
		t.Fatal(err)
	}
	w.sends([]requests{
		{shop, "orders/crm", "GET", "crm.example.com/v2/customers/4711", 2},
		{shop, "orders/crm", "GET", "elsewhere.example.com/v2", 1},
		{shop, "orders/crm", "POST", "eu.crm.example.com/orders", 2},
	})
	return w
}

// newServer starts a server that nobody has set up.
func newServer(t *testing.T) *world {
	t.Helper()
	ca, dns := harness.NewCA(t), harness.StartDNS(t)
	w := &world{t: t, Lab: &harness.Lab{CA: ca, DNS: dns, Secrets: []string{"canary-of-the-sample"}}, tokens: map[string]string{}}
	w.Keybearer = harness.StartKeybearer(t, harness.KeybearerOptions{
		Options: "trust " + ca.File + "\nallow_private 127.0.0.0/8\nresolver " + dns.Addr,
	})
	return w
}

// newEmpty starts a server that has nothing but the operator ada.
func newEmpty(t *testing.T) *world {
	t.Helper()
	w := newServer(t)
	w.ada = w.Do(t, "", "operator", "create", "ada", "--role", "instance-admin", "--description", "Looks after this server")
	w.tokens["ada"] = w.ada
	return w
}

func (w *world) manifest() string {
	w.t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "sample.yaml"))
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.ReplaceAll(string(b), "EXPIRES", time.Now().Add(9*24*time.Hour).UTC().Format(time.RFC3339))
}

func (w *world) file(name, content string) string {
	return harness.WriteFile(w.t, filepath.Join(harness.Dir(w.t), name), []byte(content))
}

// as runs a command as ada, over TCP, and returns what it prints.
func (w *world) as(args ...string) string {
	w.t.Helper()
	binary, err := harness.Binary()
	if err != nil {
		w.t.Fatal(err)
	}
	r := harness.Run(w.t, harness.Command{Path: binary, Args: args, Env: append(w.Env(),
		"KEYBEARER_ADDR=http://"+w.Admin.String(), "KEYBEARER_TOKEN_FILE="+w.file("token", w.ada), "SAMPLE="+w.Secrets[0])}, "")
	if r.Code != 0 {
		w.t.Fatalf("keybearer %q: exit code %d\n%s%s", args, r.Code, r.Stdout, r.Stderr)
	}
	return strings.TrimSpace(r.Stdout)
}

// destinations starts one server for all the hosts of the sample.
func (w *world) destinations() {
	w.t.Helper()
	hosts := []string{
		"hooks.slack", "status", "crm", "eu.crm", "api.payments", "warehouse", "labels", "old", "feed", "directory", "payroll", "elsewhere",
	}
	names := make([]string, 0, len(hosts))
	for _, h := range hosts {
		names = append(names, h+".example.com")
	}
	tls := harness.ServerTLS(w.CA.Issue(w.t, time.Time{}, names...))
	handler := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/down") {
			rw.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	server := harness.StartServer(w.t, harness.ServerOptions{Name: "sample", TLS: tls, Handler: handler, Forget: true})
	for _, n := range names {
		w.At(n, server.Addr)
	}
}

// requests are some of the same kind.
type requests struct {
	token, credential, method, to string
	times                         int
}

// before is what an audit log holds: uses, answers that are errors, and refusals of most kinds.
func before(shop, sync string) []requests {
	return []requests{
		{shop, "orders/crm", "GET", "crm.example.com/v2/customers/4711", 9},
		{shop, "orders/crm", "POST", "eu.crm.example.com/orders", 5},
		{shop, "orders/payments", "POST", "api.payments.example.com/charges", 6},
		{shop, "orders/payments", "POST", "api.payments.example.com/charges/down", 1},
		{sync, "orders/partner-feed", "PUT", "feed.example.com/prices", 2},
		{sync, "people/payroll", "POST", "payroll.example.com/runs", 1},
		{shop, "global/slack", "POST", "hooks.slack.example.com/services/T1/B2", 3},
		{shop, "orders/crm", "DELETE", "crm.example.com/v2/customers/4711", 2}, // method_not_allowed
		{shop, "orders/crm", "GET", "elsewhere.example.com/v2", 3},             // destination_not_allowed
		{sync, "people/directory", "GET", "directory.example.com/people", 2},   // user_required
		{shop, "orders/labels", "POST", "labels.example.com/print", 2},         // credential_needs_secret
		{shop, "orders/old-shop", "GET", "old.example.com/", 1},                // credential_disabled
		{sync, "orders/payments", "POST", "api.payments.example.com/refunds", 2},
		{shop, "orders/crm", "GET", "crm.example.com/v2/customers", 2},
	}
}

// sends sends them all, one after the other.
func (w *world) sends(all []requests) {
	w.t.Helper()
	for _, r := range all {
		for range r.times {
			if _, err := w.send(outgoing{Credential: r.credential, Method: r.method, URL: "http://" + r.to, Token: r.token}); err != nil {
				w.t.Fatalf("%s for %s: %v", r.credential, r.to, err)
			}
		}
	}
}

// history gives the stopped server's ledger a week of use, more by day than by night.
func (w *world) history() {
	w.t.Helper()
	ctx := w.t.Context()
	store, err := sqlstore.OpenSQLite(ctx, filepath.Join(w.Home, "keybearer.db"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer store.Close()
	checkpoint, err := store.Checkpoint(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	scopes, err := store.Scopes(ctx, keybearer.Query{})
	if err != nil {
		w.t.Fatal(err)
	}
	var uses []keybearer.UseRecord
	now := time.Now()
	for _, s := range scopes.Items {
		page, err := store.Credentials(ctx, keybearer.Query{ScopeID: s.ID})
		if err != nil {
			w.t.Fatal(err)
		}
		for _, c := range page.Items {
			h := habits[s.Name+"/"+c.Name]
			for ago := time.Hour; ago < 7*24*time.Hour; ago += time.Hour {
				at := now.Add(-ago)
				u := keybearer.UseRecord{CredentialID: c.ID, Scope: s.Name, Caller: h.caller, Host: h.host, Status: 200, At: at}
				for range h.uses(at) {
					uses = append(uses, u)
				}
				if u.Refused, u.Status, u.Code = true, 0, h.refusal; h.refusal != "" && chance(c.Name, at)%7 == 0 {
					uses = append(uses, u, u)
				}
				if u.Refused, u.Status, u.Code = false, 503, ""; chance(c.Name+"!", at)%31 == 0 && h.perDay > 20 {
					uses = append(uses, u, u, u)
				}
			}
		}
	}
	if err := store.RecordUses(ctx, uses, checkpoint); err != nil {
		w.t.Fatal(err)
	}
}

// habit is how a credential is used.
type habit struct {
	caller, host string
	perDay       int            // 0: never
	at           int            // hour of the day (UTC), for what is used once a day; 0: by day
	refusal      keybearer.Code // what some are refused with
}

var habits = map[string]habit{
	"global/slack":        {caller: "shop", host: "hooks.slack.example.com:443", perDay: 40},
	"orders/crm":          {caller: "shop", host: "crm.example.com:443", perDay: 260, refusal: keybearer.MethodNotAllowed},
	"orders/payments":     {caller: "shop", host: "api.payments.example.com:443", perDay: 120},
	"orders/warehouse":    {caller: "nightly-sync", host: "warehouse.example.com:8443", perDay: 30, at: 2},
	"orders/partner-feed": {caller: "nightly-sync", host: "feed.example.com:443", perDay: 24, refusal: keybearer.DestinationNotAllowed},
	"people/directory":    {caller: "nightly-sync", host: "directory.example.com:443", perDay: 12, refusal: keybearer.UserRequired},
	"people/payroll":      {caller: "nightly-sync", host: "payroll.example.com:443", perDay: 6, at: 4},
}

// uses is how often it was used in the hour.
func (h habit) uses(at time.Time) int {
	hour := at.UTC().Hour()
	switch {
	case h.perDay == 0 || h.at != 0 && hour != h.at:
		return 0
	case h.at != 0:
		return h.perDay
	}
	day := math.Max(.08, math.Sin(math.Pi*(float64(hour)-5)/16))
	return int(float64(h.perDay)/11*day) + int(chance(h.host, at)%4)*h.perDay/100
}

// chance is a number that depends on nothing but what and the hour.
func chance(what string, at time.Time) uint32 {
	sum := fnv.New32a()
	fmt.Fprint(sum, what, at.Unix()/3600)
	return sum.Sum32()
}
