package manifest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/manifest"
)

// Each mistake is named with its file, its line and its fix, and nothing that could be a secret is repeated.
func TestReadNamesMistakes(t *testing.T) {
	const head = "apiVersion: keybearer/v1\n"
	credential := func(lines string) string { return head + "credentials:\n  docs/crm:\n" + lines }
	const literal = `secret never stands in a manifest: write where it is, "{file./run/secrets/crm}" or "{env.CRM_TOKEN}"; if this was a real one, replace it, since whoever sees the file knows it`
	for name, x := range map[string]struct{ text, want string }{
		"nothing":             {"# only words\n", "there is no manifest in -"},
		"no version":          {"scopes: {}\n", "stdin:1: a manifest begins with apiVersion: keybearer/v1"},
		"another version":     {"apiVersion: v1\n", "stdin:1: apiVersion is keybearer/v1"},
		"a list":              {"- a\n", "stdin:1: a manifest begins with apiVersion: keybearer/v1"},
		"no YAML":             {head + "scopes: [\n", "stdin:2: did not find expected node content"},
		"unknown section":     {head + "scope: {}\n", "stdin:2: a manifest has no field scope; did you mean scopes?"},
		"section of nothing":  {head + "callers:\n", "stdin:2: callers is empty: write {} if there are none, or leave it out"},
		"section is a list":   {head + "scopes: [docs]\n", "stdin:2: scopes is a mapping, of names to values"},
		"second document":     {head + "---\nscopes: {}\n", "stdin:3: a manifest begins with apiVersion: keybearer/v1"},
		"anchor":              {head + "scopes: &all {}\n", "stdin:2: anchors and aliases are not used here; write it out"},
		"alias of nothing":    {head + "scopes: *" + "hunter2\n", "stdin: anchors and aliases are not used here; write it out"},
		"tag":                 {head + "scopes: !hunter2 {}\n", "stdin:2: tags are not used here; leave out what begins with !"},
		"scope name":          {head + "scopes: {Docs: {}}\n", "stdin:2: the name of a scope is 1 to 63 lower-case letters, digits and '-'"},
		"scope field":         {head + "scopes: {docs: {desc: x}}\n", "stdin:2: a scope has no field desc; did you mean description?"},
		"far field":           {head + "scopes: {docs: {hunter2: x}}\n", "stdin:2: a scope has no field of this name; it may have description, key"},
		"scope twice":         {head + "scopes:\n  docs: {}\n  docs: {}\n", "stdin:4: scopes has docs twice; the first is in line 3"},
		"twice in documents":  {head + "scopes: {docs: {}}\n---\n" + head + "scopes:\n  docs: {}\n", "stdin:6: scope docs is listed twice; the first is at stdin:2"},
		"key is no truth":     {head + "scopes: {docs: {key: yes}}\n", "stdin:2: key is true or false"},
		"description":         {head + "scopes: {docs: {description: 12}}\n", "stdin:2: description is text; put it in quotes"},
		"long description":    {head + "scopes: {docs: {description: " + strings.Repeat("x", 1001) + "}}\n", "stdin:2: a description is at most 1000 bytes of text without control characters"},
		"credential name":     {head + "credentials: {crm: {kind: bearer}}\n", "stdin:2: a credential is named <scope>/<name>, in lower-case letters, digits and '-', as in docs/crm"},
		"credential id":       {head + "credentials: {docs/crd_aaaaaaaaaaaaaaaaaaaaaaaaaa: {kind: bearer}}\n", "stdin:2: a credential is named <scope>/<name>, in lower-case letters, digits and '-', as in docs/crm"},
		"credential twice":    {head + "credentials:\n  docs/crm: {kind: bearer}\n  docs/crm: {kind: bearer}\n", "stdin:4: credentials has docs/crm twice; the first is in line 3"},
		"no kind":             {credential("    description: x\n"), "stdin:3: docs/crm has no kind: basic, bearer or header"},
		"unknown kind":        {credential("    kind: token\n"), "stdin:4: a kind is one of basic, bearer, header"},
		"header of a bearer":  {credential("    kind: bearer\n    header: X-Key\n"), "stdin:4: only a credential of kind header has a header and a prefix; basic and bearer write Authorization"},
		"no header":           {credential("    kind: header\n"), "stdin:4: kind header needs the name of a header, in letters, digits and '-'; for example X-Api-Key"},
		"reserved header":     {credential("    kind: header\n    header: host\n"), "stdin:4: this header belongs to the connection or to Keybearer and cannot hold a secret"},
		"literal secret":      {credential("    kind: bearer\n    secret: hunter2\n"), "stdin:5: " + literal},
		"secret of digits":    {credential("    kind: bearer\n    secret: 12345678\n"), "stdin:5: " + literal},
		"secret around":       {credential("    kind: bearer\n    secret: 'Bearer {env.TOKEN}'\n"), "stdin:5: " + literal},
		"other placeholder":   {credential("    kind: bearer\n    secret: '{http.hunter2}'\n"), "stdin:5: " + literal},
		"two placeholders":    {credential("    kind: bearer\n    secret: '{env.A}{env.B}'\n"), "stdin:5: " + literal},
		"block secret":        {credential("    kind: bearer\n    secret: |\n      hunter2\n      hunter3\n"), "stdin:5: " + literal},
		"unquoted":            {credential("    kind: bearer\n    secret: {env.TOKEN}\n"), `stdin:5: secret is a reference in quotes, as in "{file./run/secrets/crm}" or "{env.CRM_TOKEN}"`},
		"password of bearer":  {credential("    kind: bearer\n    password: '{env.P}'\n"), "stdin:5: only kind basic has password; the others have secret"},
		"secret of basic":     {credential("    kind: basic\n    secret: '{env.P}'\n"), "stdin:5: kind basic has username and password in the place of secret"},
		"half of basic":       {credential("    kind: basic\n    password: '{env.P}'\n"), "stdin:3: docs/crm needs both username and password, or neither"},
		"literal username":    {credential("    kind: basic\n    username: hunter2\n    password: '{env.P}'\n"), "stdin:5: " + strings.Replace(literal, "secret never", "username never", 1)},
		"unknown field":       {credential("    kind: bearer\n    require-user: true\n"), "stdin:5: a credential has no field require-user; did you mean require_user?"},
		"destination as text": {credential("    kind: bearer\n    destinations: [api.example.com]\n"), "stdin:5: a destination is a mapping: write - rule: https://api.example.com"},
		"destinations":        {credential("    kind: bearer\n    destinations: api.example.com\n"), "stdin:5: destinations is a list"},
		"destination field":   {credential("    kind: bearer\n    destinations: [{rule: a.example.com, method: [GET]}]\n"), "stdin:5: a destination has no field method; did you mean methods?"},
		"any destination":     {credential("    kind: bearer\n    destinations: [{rule: '*'}]\n"), "stdin:5: a rule names a host: there is no rule for every one; write the hosts that the secret is for, such as api.example.com or *.example.com"},
		"public suffix":       {credential("    kind: bearer\n    destinations: [{rule: '*.com'}]\n"), "stdin:5: the wildcard is over a public suffix, below which anybody can register a name; write the host, or a wildcard below a name that you hold"},
		"method":              {credential("    kind: bearer\n    destinations: [{rule: a.example.com, methods: [post]}]\n"), "stdin:5: a method is one of DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT; methods are case-sensitive: write POST"},
		"expiry":              {credential("    kind: bearer\n    expires_at: 2027-01-31\n"), "stdin:5: expires_at is an RFC 3339 time, as in 2027-01-31T18:00:00Z; leave it out for never"},
		"subject":             {credential("    kind: bearer\n    grants: {billing: use}\n"), "stdin:5: a subject is app:<caller>, user:<id> or group:<name>; for example app:billing"},
		"level":               {credential("    kind: bearer\n    grants: {app:billing: admin}\n"), "stdin:5: a level is one of use, view, edit, administer"},
		"grants of nothing":   {credential("    kind: bearer\n    grants:\n"), "stdin:5: grants is empty: write {} if there are none, or leave it out to leave them as they are"},
		"grant twice":         {credential("    kind: bearer\n    grants:\n      app:billing: use\n      app:billing: view\n"), "stdin:7: grants has app:billing twice; the first is in line 6"},
		"caller name":         {head + "callers: {cal_x: {}}\n", "stdin:2: the name of a caller is 1 to 63 lower-case letters, digits, '-', '.' and '_', and does not begin with cal_"},
		"caller's token":      {head + "callers: {billing: {token: hunter2}}\n", "stdin:2: a caller has no field token; it may have description, scopes, disabled, limits"},
		"operator name":       {head + "operators: {uid-0: {}}\n", "stdin:2: the name of an operator is 1 to 63 lower-case letters, digits, '-', '.' and '_', or an e-mail address in lower case, and does not begin with opr_ or uid-"},
		"role":                {head + "operators: {ada: {roles: [admin]}}\n", "stdin:2: a role is instance-admin or scope-admin:<scope>"},
		"group":               {head + "operators: {ada: {groups: ['a b']}}\n", "stdin:2: a group's name is 1 to 255 printable characters without blanks"},
		"all at once": {
			credential("    kind: header\n    knd: x\n    secret: hunter2\n") + "calers: {}\n",
			"stdin:4: kind header needs the name of a header, in letters, digits and '-'; for example X-Api-Key\n" +
				"stdin:5: a credential has no field knd; did you mean kind?\n" +
				"stdin:6: " + literal + "\n" +
				"stdin:7: a manifest has no field calers; did you mean callers?",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := manifest.Read([]string{"-"}, strings.NewReader(x.text))
			wantCode(t, err, keybearer.Invalid)
			if diff := cmp.Diff(x.want, keybearer.AsError(err).Detail); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if strings.Contains(fmt.Sprintf("%+v", err), "hunter") {
				t.Errorf("it repeats what may be a secret: %v", err)
			}
		})
	}
}

// A directory is all its manifests together; a record is listed once in all of them.
func TestReadDirectory(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a.yaml", "apiVersion: keybearer/v1\nscopes: {docs: {}}\n---\n# nothing\n---\napiVersion: keybearer/v1\nscopes: {ops: {}}\n")
	write("b.json", `{"apiVersion": "keybearer/v1", "credentials": {"docs/crm": {"kind": "bearer", "secret": "{env.TOKEN}"}}}`)
	write("c.yml", "apiVersion: keybearer/v1\ncallers: {billing: }\n")
	write("notes.txt", "hunter2")
	write(".hidden.yaml", "hunter2")
	m, err := manifest.Read([]string{dir}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"apiVersion":"keybearer/v1","scopes":{"docs":{},"ops":{}},"credentials":{"docs/crm":{"kind":"bearer","secret":"{env.TOKEN}","destinations":[]}},"callers":{"billing":{"scopes":[]}}}`
	if got := strings.NewReplacer("\n", "", " ", "").Replace(text(t, m.Document())); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	write("d.yaml", "apiVersion: keybearer/v1\n\nscopes: {ops: {}}\n")
	_, err = manifest.Read([]string{dir}, nil)
	if got, want := keybearer.AsError(err).Detail, dir+"/d.yaml:3: scope ops is listed twice; the first is at "+dir+"/a.yaml:7"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, err = manifest.Read([]string{filepath.Join(dir, "none")}, nil); !os.IsNotExist(err) {
		t.Errorf("got %v", err)
	}
}

// Whatever is read ends, and what is refused is refused with a line.
func FuzzRead(f *testing.F) {
	f.Add("apiVersion: keybearer/v1\nscopes: {docs: {key: true}}\ncredentials:\n  docs/crm: {kind: bearer, secret: '{env.A}', destinations: [{rule: a.example.com}], grants: {app:b: use}}\ncallers: {b: {}}\noperators: {o: {}}\n")
	f.Add("apiVersion: keybearer/v1\n---\n? [a]\n: b\n")
	f.Add("{\"apiVersion\": \"keybearer/v1\", \"scopes\": {\"a\": null}}")
	f.Fuzz(func(t *testing.T, in string) {
		m, err := manifest.Read([]string{"-"}, strings.NewReader(in))
		if err != nil {
			wantCode(t, err, keybearer.Invalid)
			return
		}
		again := text(t, m.Document())
		if twice := text(t, read(t, again).Document()); twice != again {
			t.Errorf("%s\nis read as\n%s", again, twice)
		}
	})
}

// The manifest that the documentation shows is one, and holds every field there is.
func TestDocumentedManifest(t *testing.T) {
	page, err := os.ReadFile("../../docs/gitops.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```yaml\n")
	shown, _, found := strings.Cut(rest, "```\n")
	if !found {
		t.Fatal("the page shows no manifest")
	}
	m := read(t, shown)
	if len(m.Scopes) != 1 || len(m.Credentials) != 2 || len(m.Callers) != 1 || len(m.Operators) != 1 {
		t.Fatal(text(t, m.Document()))
	}
	for _, of := range []any{manifest.ScopeEntry{}, manifest.CredentialEntry{}, manifest.DestinationEntry{}, manifest.CallerEntry{}, manifest.LimitsEntry{}, manifest.OperatorEntry{}} {
		for _, f := range reflect.VisibleFields(reflect.TypeOf(of)) {
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); !strings.Contains(shown, name) {
				t.Errorf("it does not show %s", name)
			}
		}
	}
}
