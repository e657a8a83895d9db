package manifest_test

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/manifest"
)

// anyText has what YAML could take for something else.
func anyText() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.SampledFrom([]string{"", "true", "null", "1e3", "0x1f", "2027-01-31", "- a", "a: b", "# a", "{env.A}", "'\"'", " a ", "a\nb\n", "&a *b !c", "%", "ü€😀", "yes", "=", "<<", "~", ".inf"}),
		rapid.StringN(0, 20, 100).Filter(func(s string) bool {
			for _, r := range s {
				if r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 || r == 0xfffd {
					return false
				}
			}
			return true
		}),
	)
}

func some[T any](t *rapid.T, label string, from ...T) T {
	return rapid.SampledFrom(from).Draw(t, label)
}

// maybe gives a map some of the names.
func maybe[K comparable, V any](t *rapid.T, into map[K]V, entry func(*rapid.T) V, names ...K) map[K]V {
	for _, name := range names {
		if rapid.Bool().Draw(t, "listed") {
			into[name] = entry(t)
		}
	}
	return into
}

func anyCredential(t *rapid.T) manifest.CredentialEntry {
	e := manifest.CredentialEntry{
		Description: anyText().Draw(t, "description"), Kind: some(t, "kind", keybearer.Basic, keybearer.Bearer, keybearer.Header),
		RequireUser: rapid.Bool().Draw(t, "user"), WebSocket: rapid.Bool().Draw(t, "ws"), PassCookies: rapid.Bool().Draw(t, "cookies"),
		PassTrace: rapid.Bool().Draw(t, "trace"), ScrubBody: rapid.Bool().Draw(t, "scrub"), Disabled: rapid.Bool().Draw(t, "disabled"), Destinations: []manifest.DestinationEntry{},
		Secret: "{env.TOKEN}",
	}
	switch e.Kind {
	case keybearer.Basic:
		e.Secret, e.Username, e.Password = "", "{env.USER_}", "{env.PASSWORD}"
	case keybearer.Header:
		e.Header, e.Prefix = some(t, "header", "X-Key", "x-other"), some(t, "prefix", "", "Token ")
	}
	for range rapid.IntRange(0, 3).Draw(t, "rules") {
		e.Destinations = append(e.Destinations, manifest.DestinationEntry{
			Rule:    some(t, "rule", "a.example.com", "A.example.com./v1", "*.example.com", "http://b.example.com", "https://10.0.0.1:8443/x"),
			Methods: some(t, "methods", nil, []string{"POST"}, []string{"PUT", "GET", "GET"}), Private: rapid.Bool().Draw(t, "private"),
		})
	}
	if rapid.Bool().Draw(t, "expires") {
		e.ExpiresAt = time.Date(2100+rapid.IntRange(0, 3).Draw(t, "year"), 1, 2, 3, 4, 5, some(t, "ns", 0, 123456789), time.FixedZone("", 3600))
	}
	if rapid.Bool().Draw(t, "grants") {
		e.Grants = maybe(t, map[keybearer.Subject]keybearer.Level{keybearer.Subject(me): keybearer.Administer}, func(t *rapid.T) keybearer.Level {
			return some(t, "level", keybearer.Use, keybearer.View, keybearer.Edit, keybearer.Administer)
		}, "app:billing", "user:ada", "user:a:b//c#d", "group:sales", "group:true")
	}
	return e
}

func anyDocument(t *rapid.T) *manifest.Document {
	toggled := func(t *rapid.T) bool { return rapid.Bool().Draw(t, "disabled") }
	return &manifest.Document{
		APIVersion: manifest.APIVersion,
		Scopes: maybe(t, map[string]manifest.ScopeEntry{"docs": {Key: true}, "123": {Key: true, Description: anyText().Draw(t, "description")}}, func(t *rapid.T) manifest.ScopeEntry {
			return manifest.ScopeEntry{Description: anyText().Draw(t, "description"), Key: rapid.Bool().Draw(t, "key")}
		}, "global", "ops", "true"),
		Credentials: maybe(t, map[string]manifest.CredentialEntry{}, anyCredential, "docs/crm", "docs/b.c", "123/0x1"),
		Callers: maybe(t, map[string]manifest.CallerEntry{"billing": {Scopes: []string{"docs"}}}, func(t *rapid.T) manifest.CallerEntry {
			return manifest.CallerEntry{Description: anyText().Draw(t, "description"), Scopes: some(t, "scopes", []string{}, []string{"docs", "123"}), Disabled: toggled(t), Limits: manifest.LimitsEntry{
				Rate: some(t, "rate", "", "none", "100/s", "30/m", "7/h", "2.5"), Burst: some(t, "burst", "", "3"), Concurrency: some(t, "concurrency", "", "none", "5"),
			}}
		}, "shop", "null"),
		Operators: maybe(t, map[string]manifest.OperatorEntry{}, func(t *rapid.T) manifest.OperatorEntry {
			return manifest.OperatorEntry{
				Description: anyText().Draw(t, "description"), Groups: some(t, "groups", []string{}, []string{"sales", "a"}),
				Roles: some(t, "roles", []string{}, []string{"scope-admin:docs", "instance-admin"}), Disabled: toggled(t),
			}
		}, "ada", "bob"),
	}
}

// From whatever a server has, any manifest leads to what it says, and then there is nothing left to do; what is exported then, applied to an empty
// server, is exported there as the same bytes.
func TestAnyManifestIsReached(t *testing.T) {
	l := newLab(t)
	run := 0
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		doc := text(t, anyDocument(t))
		apply(t, l.Client, doc, options())
		p, err := plan(l.Client, read(t, doc), options())
		if err != nil || len(p.Changes) != 0 {
			t.Fatalf("left: %+v, %v\n%s", p, err, doc)
		}
		// Nothing that is listed reads otherwise on the server.
		state, err := manifest.Load(t.Context(), l.Client, read(t, doc).Select())
		if err != nil {
			t.Fatal(err)
		}
		have, err := state.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		want := read(t, doc).Document()
		for name, x := range want.Credentials {
			got := have.Document().Credentials[name]
			x.Secret, x.Username, x.Password = "", "", ""
			if x.Grants == nil {
				got.Grants = nil
			}
			if diff := cmp.Diff(x, got); diff != "" {
				t.Fatalf("%s: %s", name, diff)
			}
		}

		if run++; run%5 != 1 { // a server of its own takes its time
			return
		}
		empty := filepath.Join(dir, strconv.Itoa(run))
		if err := os.Mkdir(empty, 0o700); err != nil {
			t.Fatal(err)
		}
		other := openLab(t, empty)
		defer func() { other.close(); _ = os.RemoveAll(empty) }()
		exported := export(t, l.Client)
		apply(t, other.Client, exported, options())
		if diff := cmp.Diff(exported, export(t, other.Client)); diff != "" {
			t.Fatal(diff)
		}
	})
}
