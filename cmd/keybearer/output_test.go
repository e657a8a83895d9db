package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
)

var update = flag.Bool("update", false, "write the golden files anew")

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// testCLI writes to buffers, as if at noon.
func testCLI(f format) (c *cli, out, talk *bytes.Buffer) {
	out, talk = new(bytes.Buffer), new(bytes.Buffer)
	return &cli{
		in: strings.NewReader(""), out: out, err: talk, getenv: func(string) string { return "" },
		now: func() time.Time { return noon }, format: f, formatAsked: true,
	}, out, talk
}

// golden compares got with a file of testdata/golden.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", path, d)
	}
}

var (
	goldenCredential = admin.Credential{
		ID: "crd_aaaaaaaaaaaaaaaaaaaaaaaaaa", Scope: "docs", ScopeID: "scp_aaaaaaaaaaaaaaaaaaaaaaaaaa", Name: "crm",
		Description: "sales\x1b[2J & <friends>", Kind: keybearer.Header, Header: "X-Api-Key", Prefix: "Token ",
		Destinations: []admin.Destination{
			{Rule: "http://old.example.com", Clear: true},
			{Rule: "https://**.example.com:8443/hooks", Methods: []string{"POST", "PUT"}, Private: true},
		},
		RequireUser: true, PassTrace: true, State: keybearer.Disabled, ExpiresAt: noon.AddDate(0, 0, 40), Version: 3, VersionAt: noon.Add(-90 * time.Minute),
		Previous: &admin.PreviousVersion{Version: 2, Kind: keybearer.Bearer, Destinations: []admin.Destination{}, CreatedAt: noon.AddDate(-1, 0, 0), KeptTo: noon.Add(5 * time.Hour)},
		Grants:   []admin.Grant{{Subject: "app:billing", Level: keybearer.Use}, {Subject: "group:sales", Level: keybearer.Administer}}, Level: keybearer.Administer,
		Usage: &admin.Usage{
			Count: 12, Refused: 1, LastAt: noon.Add(-time.Minute), LastCaller: "billing", LastHost: "a.example.com:443", LastStatus: 201,
			Callers: []admin.CallerUsage{{Caller: "billing", Count: 12, LastAt: noon.Add(-time.Minute), Host: "a.example.com:443"}},
		},
		CreatedAt: noon.AddDate(-2, 0, 0), UpdatedAt: noon.Add(-time.Second), Revision: 7,
	}
	goldenSmall = admin.Credential{
		ID: "crd_baaaaaaaaaaaaaaaaaaaaaaaaa", Scope: "global", ScopeID: "scp_baaaaaaaaaaaaaaaaaaaaaaaaa", Name: "slack", Kind: keybearer.Bearer,
		Destinations: []admin.Destination{}, State: keybearer.Active, Version: 1, VersionAt: noon, Level: keybearer.View, CreatedAt: noon, UpdatedAt: noon, Revision: 8,
	}
	goldenScopes = []admin.Scope{
		{ID: "scp_aaaaaaaaaaaaaaaaaaaaaaaaaa", Name: "docs", Description: "manuals", Key: &admin.ScopeKey{Generation: 2, Version: 3, CreatedAt: noon}, CreatedAt: noon, UpdatedAt: noon, Revision: 3},
		{ID: "scp_baaaaaaaaaaaaaaaaaaaaaaaaa", Name: "global", CreatedAt: noon, UpdatedAt: noon, Revision: 1},
		{ID: "scp_caaaaaaaaaaaaaaaaaaaaaaaaa", Name: "moving", Key: &admin.ScopeKey{Generation: 1, Version: 1, CreatedAt: noon}, Work: &admin.Work{Kind: keybearer.WorkRotate, Done: 3, Total: 9, StartedAt: noon}, CreatedAt: noon, UpdatedAt: noon, Revision: 2},
	}
	goldenCallers = []admin.Caller{
		{ID: "cal_aaaaaaaaaaaaaaaaaaaaaaaaaa", Name: "billing", Scopes: []string{"crm", "docs"}, Tokens: []admin.Token{{ID: "tok_a", CreatedAt: noon, ExpiresAt: noon.Add(time.Hour)}, {ID: "tok_b", CreatedAt: noon}}, CreatedAt: noon, UpdatedAt: noon, Revision: 1},
		{ID: "cal_baaaaaaaaaaaaaaaaaaaaaaaaa", Name: "shop", Description: "web shop", Scopes: []string{}, Tokens: []admin.Token{}, Disabled: true, CreatedAt: noon, UpdatedAt: noon, Revision: 1},
	}
	goldenEvents = []keybearer.Event{
		{Time: noon, ID: "req_a", Phase: keybearer.Intent, Kind: keybearer.UseEvent, Scope: "docs", Credential: "crm", Caller: "billing", Method: "POST", Scheme: "https", Host: "a.example.com", Port: 443, Path: "/hook", Decision: keybearer.Allow, Rule: "https://a.example.com"},
		{Time: noon, ID: "req_a", Phase: keybearer.Outcome, Kind: keybearer.UseEvent, Scope: "docs", Credential: "crm", Caller: "billing", ActingUser: "ada", Method: "POST", Scheme: "https", Host: "a.example.com", Port: 443, Path: "/hook", Decision: keybearer.Allow, Rule: "https://a.example.com", DestinationStatus: 204, DurationMS: 12.4},
		{Time: noon, ID: "req_b", Phase: keybearer.Outcome, Kind: keybearer.RefusalEvent, Scope: "docs", Credential: "crm", Caller: "shop", Method: "GET", Scheme: "https", Host: "10.0.0.1", Port: 8443, Path: "/\x1b]0;x\a", Decision: keybearer.Refuse, Code: keybearer.DestinationNotAllowed},
		{Time: noon, ID: "req_c", Phase: keybearer.Outcome, Kind: keybearer.ChangeEvent, Scope: "docs", Credential: "crm", Operator: "uid-0", Action: "credential.edit", Changed: []string{"description", "expires_at"}},
		{Time: noon, ID: "req_d", Phase: keybearer.Outcome, Kind: keybearer.UseEvent, Scope: "docs", Credential: "crm", Caller: "billing", Method: "POST", Scheme: "https", Host: "a.example.com", Port: 443, Path: "/", Decision: keybearer.Allow, Code: keybearer.DestinationTimeout},
		{Time: noon, ID: "req_e", Phase: keybearer.Outcome, Kind: keybearer.RefusalEvent, Decision: keybearer.Refuse, Code: keybearer.CallerUnauthenticated, Method: "GET"},
	}
)

func init() { time.Local = time.UTC } // goldens show local times

func TestOutputGolden(t *testing.T) {
	refused := admin.CheckResult{
		Code: keybearer.MethodNotAllowed, Reason: "the rule admits POST only", Destination: "https://a.example.com/hook", Hint: "use POST",
		Steps: []admin.CheckStep{{Step: "caller", Passed: true, Detail: "app:billing is live"}, {Step: "rule", Detail: "no rule admits GET"}},
		Rules: []admin.CheckRule{{Rule: "https://a.example.com", Methods: []string{"POST"}, Why: "not for GET"}, {Rule: "https://b.example.com", Private: true, Admits: true}},
	}
	prints := map[string]func(c *cli) error{
		"credential-list": func(c *cli) error {
			return printList(c, []admin.Credential{goldenCredential, goldenSmall}, c.credentialListing())
		},
		"credential-show": func(c *cli) error {
			return printItem(c, goldenCredential, goldenCredential.Ref().String(), c.credentialFields(goldenCredential))
		},
		"credential-none": func(c *cli) error { return printList(c, nil, c.credentialListing()) },
		"scope-list":      func(c *cli) error { return printList(c, goldenScopes, c.scopeListing()) },
		"scope-show":      func(c *cli) error { return printItem(c, goldenScopes[0], "docs", c.scopeFields(goldenScopes[0])) },
		"caller-list":     func(c *cli) error { return printList(c, goldenCallers, c.callerListing()) },
		"caller-show":     func(c *cli) error { return printItem(c, goldenCallers[0], "billing", c.callerFields(goldenCallers[0])) },
		"check":           func(c *cli) error { return printItem(c, refused, verdict(refused), checkFields(refused)) },
		"audit": func(c *cli) error {
			return c.printEvents(func(yield func(keybearer.Event, error) bool) {
				for _, e := range goldenEvents {
					if !yield(e, nil) {
						return
					}
				}
			})
		},
	}
	for name, show := range prints {
		for _, f := range []format{asTable, asJSON, asYAML, asName} {
			t.Run(name+"."+string(f), func(t *testing.T) {
				c, out, talk := testCLI(f)
				if err := show(c); err != nil {
					t.Fatal(err)
				}
				text := out.String()
				if talk.Len() > 0 {
					text += "--- stderr\n" + talk.String()
				}
				if strings.ContainsAny(text, "\x1b\a") && f != asJSON {
					t.Error("a control byte of a record reached the output")
				}
				golden(t, name+"."+string(f), text)
			})
		}
	}
}

// Colours may only wrap what is printed without them.
func TestColoursChangeNothing(t *testing.T) {
	plainCLI, out, _ := testCLI(asTable)
	if err := printList(plainCLI, []admin.Credential{goldenCredential, goldenSmall}, plainCLI.credentialListing()); err != nil {
		t.Fatal(err)
	}
	coloured, colouredOut, _ := testCLI(asTable)
	coloured.style.on = true
	if err := printList(coloured, []admin.Credential{goldenCredential, goldenSmall}, coloured.credentialListing()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(colouredOut.String(), "\x1b[32mactive\x1b[0m") {
		t.Errorf("no green in %q", colouredOut)
	}
	bare := colouredOut.String()
	for _, code := range []string{"0", "1", "2", "31", "32", "33", "36"} {
		bare = strings.ReplaceAll(bare, "\x1b["+code+"m", "")
	}
	if d := cmp.Diff(out.String(), bare); d != "" {
		t.Error(d)
	}
}

func TestNoColourWithoutTerminal(t *testing.T) {
	var b bytes.Buffer
	if styleFor(&b, func(string) string { return "" }).on {
		t.Error("colours in a buffer")
	}
}

// What yaml says is what json says.
func TestYAMLIsTheSameAsJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
			"", "true", "no", "~", "null", "123", "0x1f", "1e3", "2026-11-23", "a: b", "- x", "#c", "&a", "*a", "!t", "%", "@", "`", "'", "\"", "|", ">", "{", "[", " lead", "trail ",
			"two\nlines", "\ttab", "\u0085", "\u2028", "\ufeff", "=", "<<", "1_000", ".inf", "12:30", "on", "y",
		}))
		value := map[string]any{
			"text": text.Draw(t, "text"), rapid.StringMatching(`[a-z_]{1,9}`).Draw(t, "key"): rapid.SliceOf(text).Draw(t, "list"), "yes": rapid.Bool().Draw(t, "bool"),
			"n": rapid.Float64Range(-1e6, 1e6).Draw(t, "n"), "none": nil, "empty": []any{}, "map": map[string]any{},
		}
		encoded, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		converted, err := yamlFromJSON(encoded)
		if err != nil {
			t.Fatal(err)
		}
		var fromYAML any
		if err := yaml.Unmarshal(converted, &fromYAML); err != nil {
			t.Fatalf("%v in\n%s", err, converted)
		}
		again, err := json.Marshal(fromYAML)
		if err != nil {
			t.Fatal(err)
		}
		var want, got any
		_ = json.Unmarshal(encoded, &want)
		_ = json.Unmarshal(again, &got)
		if !reflect.DeepEqual(want, got) {
			t.Fatalf("json %s\nyaml %s\nback %s", encoded, converted, again)
		}
	})
}

func TestAgo(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "just now", 4 * time.Second: "just now", 5 * time.Second: "5s ago", 59 * time.Second: "59s ago", time.Minute: "1m ago",
		47 * time.Hour: "47h ago", 48 * time.Hour: "2d ago", 364 * 24 * time.Hour: "364d ago", 365 * 24 * time.Hour: "1y ago",
		-4 * time.Second: "just now", -6 * time.Second: "in 6s", -72 * time.Hour: "in 3d",
	} {
		if got := ago(noon.Add(-d), noon); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
	if got := ago(time.Time{}, noon); got != "" {
		t.Errorf("no time: %q", got)
	}
}

func TestExpiry(t *testing.T) {
	time.Local = time.UTC
	c, _, _ := testCLI(asTable)
	for text, want := range map[string]time.Time{
		"": {}, "never": {}, "90d": noon.AddDate(0, 0, 90), "12h": noon.Add(12 * time.Hour), "2027-01-31": time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC),
		"2026-11-23": time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC), "2027-01-31T18:00:00+02:00": time.Date(2027, 1, 31, 16, 0, 0, 0, time.UTC),
	} {
		if got, err := c.expiry(text); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"soon", "-1d", "0d", "0s", "-5h", "2020-01-01", "2026-11-22", "99999999d", "1.5d", "d"} {
		if got, err := c.expiry(text); err == nil || exitStatus(err) != keybearer.ExitUsage {
			t.Errorf("%q: %v, %v, want a usage error", text, got, err)
		}
	}
}
