package upgrade

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
	"github.com/keybearer/keybearer/internal/audit"
	"github.com/keybearer/keybearer/test/harness"
)

func TestUpgrade(t *testing.T) {
	all := engines(t)
	tests := map[string]func(*testing.T, []engine){
		"every sample is opened":                  everySampleIsOpened,
		"a sample can be made":                    aSampleCanBeMade,
		"a migration is killed":                   aMigrationIsKilled,
		"several servers migrate together":        severalServersMigrateTogether,
		"a later schema is refused":               aLaterSchemaIsRefused,
		"doctor tells what an upgrade needs":      doctorTellsWhatAnUpgradeNeeds,
		"doctor finds a keyring that lacks a key": doctorFindsAKeyringThatLacksAKey,
		"a store in Vault is opened":              aStoreInVaultIsOpened,
		"a backup leads back":                     aBackupLeadsBack,
	}
	if former := os.Getenv("KEYBEARER_FORMER"); former != "" { // make sample FORMER=…
		tests["an older server goes on"] = anOlderServerGoesOn(former)
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, all)
		})
	}
}

// Each sample is opened by today's binary: everything is as it was, and goes on.
func everySampleIsOpened(t *testing.T, all []engine) {
	found := 0
	for _, e := range all {
		archives, err := filepath.Glob("testdata/*/" + e.name + ".tar.gz")
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range archives {
			found++
			t.Run(filepath.Base(filepath.Dir(path))+"/"+e.name, func(t *testing.T) {
				t.Parallel()
				archive, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				opened(t, e, newLab(t), unpack(t, e, archive))
			})
		}
	}
	if found < 13 {
		t.Errorf("only %d samples were found", found)
	}
}

// upgraded is a sample's home under today's binary.
type upgraded struct {
	*harness.Keybearer
	*sample
	e   engine
	lab *lab
	api *admin.Client
}

// under prepares today's binary on a sample's home and does not start it.
func under(t *testing.T, e engine, l *lab, s *sample) *upgraded {
	k := harness.NewKeybearer(t, harness.KeybearerOptions{Home: s.home, Options: l.options(e.options...), Env: []string{"KEYBEARER_DSN=" + s.dsn}})
	api, err := admin.NewClient(admin.ClientConfig{Socket: k.Socket})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(api.Close)
	return &upgraded{k, s, e, l, api}
}

// intact starts today's binary on a sample and compares what it tells with what the old one told.
func intact(t *testing.T, e engine, l *lab, s *sample) *upgraded {
	u := under(t, e, l, s)
	if err := u.TryStart(t); err != nil {
		t.Fatal(err)
	}
	u.settled(t)
	u.same(t)
	return u
}

// opened looks at all that is promised of a sample.
func opened(t *testing.T, e engine, l *lab, s *sample) {
	u := intact(t, e, l, s)
	u.manifested(t)
	uses := u.sends(t) + 1 // the next line has one
	u.goesBack(t)
	u.administers(t)
	u.audited(t)
	u.counts(t, uses)
	u.Restart(t) // nothing is migrated again, and nothing counted twice
	u.counts(t, uses)
	l.send(t, u.Keybearer, u.Tokens["billing"], sending{"billing", "global/slack", "GET", "http://api.example.com/", "Authorization", "Bearer slack", ""})
}

// settled waits until what was interrupted is done: the rotation of a key, and the count of the last uses.
func (u *upgraded) settled(t *testing.T) {
	t.Helper()
	harness.Await(t, "the rotation goes on where it was", 30*time.Second, func() error {
		if s, err := u.api.Scope(t.Context(), "busy"); err != nil || s.Work != nil {
			return fmt.Errorf("%+v, %v", s.Work, err)
		}
		return nil
	})
	harness.Await(t, "the use that was cut off counts once", 30*time.Second, func() error {
		if n := u.count(t, "docs/crash"); n != 1 {
			return fmt.Errorf("%d times", n)
		}
		return nil
	})
}

func (u *upgraded) count(t *testing.T, credential string) int {
	t.Helper()
	c, err := u.api.Credential(t.Context(), ref(credential))
	if err != nil {
		t.Fatal(err)
	}
	if c.Usage == nil {
		return 0
	}
	return int(c.Usage.Count)
}

func ref(credential string) keybearer.Ref {
	scope, name, _ := strings.Cut(credential, "/")
	return keybearer.Ref{Scope: scope, Name: name}
}

// same compares what the old binary told with what today's tells.
func (u *upgraded) same(t *testing.T) {
	t.Helper()
	for _, command := range documents {
		old, ok := u.Documents[command]
		if !ok || strings.HasPrefix(command, "usage") {
			continue // usage ends at the time of asking
		}
		var was, is any
		for text, into := range map[string]*any{string(old): &was, u.Do(t, "", append(words(command), "-o", "json")...): &is} {
			if err := json.Unmarshal([]byte(text), into); err != nil {
				t.Fatalf("%s: %v: %s", command, err, text)
			}
		}
		for _, difference := range differences(command, was, is) {
			t.Error(difference)
		}
	}
}

// manifested applies what the old binary exported: there is nothing to be changed.
func (u *upgraded) manifested(t *testing.T) {
	t.Helper()
	exported, ok := u.Documents["export"]
	if !ok {
		return // by a binary that did not know of manifests
	}
	if r := u.CLI(t, string(exported), "apply", "-f", "-", "--dry-run", "--exit-code"); r.Code != 0 {
		t.Errorf("apply of what was exported: exit code %d: %s%s", r.Code, r.Stdout, r.Stderr)
	}
}

// moved are the fields that the end of the interrupted rotation and the interrupted use change, by the name of the record.
var moved = map[string][]string{
	"busy": {"key", "work", "revision", "updated_at"}, "crash": {"usage"}, "billing": {"last_used_at", "tokens"},
}

// differences tells where what is lacks or changes what was. What is may hold more, as docs/compatibility.md says.
func differences(at string, was, is any) (all []string) {
	switch was := was.(type) {
	case map[string]any:
		is, ok := is.(map[string]any)
		if !ok {
			return []string{at + " is no object any more"}
		}
		name, _ := was["name"].(string)
		for key, value := range was {
			_, there := is[key]
			switch {
			case slices.Contains(moved[name], key), was["scope"] == "busy" && key == "revision":
			case !there:
				all = append(all, fmt.Sprintf("%s %s.%s is gone; it was %v", at, name, key, value))
			default:
				all = append(all, differences(at+" "+name+"."+key, value, is[key])...)
			}
		}
		return all
	case []any:
		is, ok := is.([]any)
		if !ok || len(is) != len(was) {
			return []string{fmt.Sprintf("%s: %d items were there; now: %v", at, len(was), is)}
		}
		for i := range was {
			all = append(all, differences(at, was[i], is[i])...)
		}
		return all
	}
	if was != is {
		return []string{fmt.Sprintf("%s was %v, is %v", at, was, is)}
	}
	return nil
}

// sends lets every app of the story ask again: the same secrets arrive, the same requests are refused, and each use is
// counted once more. It returns the uses of docs/crm.
func (u *upgraded) sends(t *testing.T) (uses int) {
	t.Helper()
	before, more := u.count(t, "docs/crm"), u.again(t)
	u.counts(t, before+more)
	return before + more
}

// again does what sends does without counting, but for the uses of docs/crm, which it returns.
func (u *upgraded) again(t *testing.T) (more int) {
	t.Helper()
	refused := map[string]int{}
	for _, s := range u.Sendings {
		switch {
		case s.Credential == "docs/back" && s.Value != "" && s.Method == "POST":
			continue // it was restored later, which the second of them shows
		case s.Credential == "docs/crm" && s.Code == "":
			more++
		case s.Code != "":
			refused[s.Code]++
		}
		u.lab.send(t, u.Keybearer, u.Tokens[s.Caller], s)
	}
	if len(refused) < 5 {
		t.Errorf("the story knows too few refusals: %v", refused)
	}
	return more
}

// counts waits until the ledger has so many uses of docs/crm.
func (u *upgraded) counts(t *testing.T, uses int) {
	t.Helper()
	harness.Await(t, "the ledger goes on", 30*time.Second, func() error {
		if n := u.count(t, "docs/crm"); n != uses {
			return fmt.Errorf("%d uses, want %d", n, uses)
		}
		return nil
	})
}

// goesBack takes what the old binary kept for a while: the previous secret and the tombstone.
func (u *upgraded) goesBack(t *testing.T) {
	t.Helper()
	billing := func(credential, value string) {
		t.Helper()
		u.lab.send(t, u.Keybearer, u.Tokens["billing"], sending{"billing", credential, "GET", "http://api.example.com/", "Authorization", "Bearer " + value, ""})
	}
	do := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	do(u.api.RollbackCredential(t.Context(), ref("docs/crm")))
	billing("docs/crm", "crm-first")
	do(u.api.RestoreCredential(t.Context(), ref("docs/dead")))
	billing("docs/dead", "dead")
	do(u.api.EnableCredential(t.Context(), ref("docs/off")))
	billing("docs/off", "off")
	u.Do(t, "anew again", "credential", "set-secret", "old/anew")
	billing("old/anew", "anew again")
	do(u.api.RotateKey(t.Context(), "ops"))
	billing("ops/pager", "pager")
}

// administers lets operators in by the tokens that they have, and nobody by one that was revoked.
func (u *upgraded) administers(t *testing.T) {
	t.Helper()
	whoami := func(name string) (admin.Whoami, error) {
		address := url.URL{Scheme: "http", Host: u.Admin.String()}
		client, err := admin.NewClient(admin.ClientConfig{Address: address.String(), Token: keybearer.NewSecret(u.Tokens[name])})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		return client.Whoami(t.Context())
	}
	for _, name := range []string{"ada", "bob"} {
		if w, err := whoami(name); err != nil || w.Subject != keybearer.UserSubject(name) || !slices.Contains(w.Groups, "ops") {
			t.Errorf("%s: %+v, %v", name, w, err)
		}
	}
	if w, err := whoami("dave"); keybearer.CodeOf(err) != keybearer.Unauthenticated {
		t.Errorf("a revoked token is good again: %+v, %v", w, err)
	}
}

// audited reads the audit log across the border: what was there is there, byte by byte, and what follows are events.
func (u *upgraded) audited(t *testing.T) {
	t.Helper()
	now, err := os.ReadFile(filepath.Join(u.home, "audit.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(now, u.audit) || len(now) == len(u.audit) {
		t.Errorf("the audit log had %d bytes and has %d, which do not begin with them", len(u.audit), len(now))
	}
	var first, lines int
	for line := range bytes.Lines(now) {
		lines++
		e, err := audit.ParseEvent(line)
		if err != nil {
			t.Errorf("line %d: %v: %s", lines, err, line)
		}
		if e.Action == "scope.create" && first == 0 {
			first = lines
			if r := u.CLI(t, "", "audit", "show", e.ID, "-o", "json"); r.Code != 0 || !strings.Contains(r.Stdout, `"scope.create"`) {
				t.Errorf("the first event is not found: exit code %d: %s%s", r.Code, r.Stdout, r.Stderr)
			}
		}
	}
	if first == 0 {
		t.Error("the log tells of no scope that was made")
	}
	r := u.CLI(t, "", "doctor", "-o", "json")
	if r.Code != 0 {
		t.Errorf("doctor: exit code %d: %s%s", r.Code, r.Stdout, r.Stderr)
	}
}

// latest is the schema that today's binary makes.
func latest(t *testing.T, e engine) int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(harness.Repository(), "internal/sqlstore/schema", e.name, "*.sql"))
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

func (u *upgraded) connect(t *testing.T) *sql.DB {
	t.Helper()
	db := u.e.connect(t, u.home, u.dsn)
	t.Cleanup(func() { _ = db.Close() })
	return db
}
