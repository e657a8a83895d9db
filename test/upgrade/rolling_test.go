package upgrade

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer/test/harness"
)

// anOlderServerGoesOn upgrades a fleet one server after the other: a server of the version before goes on serving and changing after the first new one has
// migrated, what either changes holds on both, and once the old one has ended it does not start again. former is the binary of the version before, which the
// tests do not build: see make sample.
func anOlderServerGoesOn(former string) func(*testing.T, []engine) {
	return func(t *testing.T, all []engine) {
		e, l := all[1], newLab(t)
		archives, err := filepath.Glob("testdata/*/postgres.tar.gz")
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range archives {
			t.Run(filepath.Base(filepath.Dir(path)), func(t *testing.T) {
				archive, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				s := unpack(t, e, archive)
				u := under(t, e, l, s)
				start := func() *harness.Process {
					return harness.Start(t, harness.Command{
						Name: "the former version", Path: former, Args: []string{"run", "--config", u.Config, "--adapter", "caddyfile"},
						Env: append(u.Env(), "KEYBEARER_DSN="+s.dsn), Dir: filepath.Dir(u.Config),
					})
				}
				x := sending{"billing", "docs/crm", "GET", "http://api.example.com/", "Authorization", "Bearer crm-second", ""}
				old := start()
				harness.Await(t, "the former version serves, or refuses", 30*time.Second, func() error {
					if old.Ended() {
						return nil
					}
					_, _, err := ask(t, u.Keybearer, s.Tokens["billing"], "", x)
					return err
				})
				if old.Ended() {
					if out := old.Output(t); !strings.Contains(out, "a newer version of Keybearer") {
						t.Fatal(out)
					}
					return // the sample is of a schema after that version
				}
				next := harness.NewKeybearer(t, harness.KeybearerOptions{
					Options: l.options("store postgres {env.KEYBEARER_DSN} {\nnode n2\n}"), Env: []string{"KEYBEARER_DSN=" + s.dsn},
				})
				lend(t, s, next)
				if err := next.TryStart(t); err != nil {
					t.Fatal(err)
				}
				both := func() {
					t.Helper()
					for _, k := range []*harness.Keybearer{u.Keybearer, next} {
						harness.Await(t, "a change holds", 10*time.Second, func() error {
							if _, code, err := ask(t, k, s.Tokens["billing"], "", x); err != nil || code != x.Code {
								return fmt.Errorf("code %q, want %q, %v", code, x.Code, err)
							}
							return nil
						})
						l.send(t, k, s.Tokens["billing"], x)
					}
				}
				both()
				for _, command := range []string{
					"credential edit docs/crm --description by␣the␣former", "credential create docs/new --kind bearer --domain api.example.com --private",
					"grant add docs/new app:billing use",
				} {
					if r := harness.Run(t, harness.Command{Path: former, Args: words(command), Env: u.Env()}, "new"); r.Code != 0 {
						t.Errorf("%s: exit code %d: %s", command, r.Code, r.Stderr)
					}
				}
				x.Credential, x.Value = "docs/new", "Bearer new"
				both()
				if out := next.Do(t, "", "credential", "list", "--search", "new", "-o", "name"); !strings.Contains(out+"\n", "docs/new\n") {
					t.Errorf("the new one lists %q", out)
				}
				next.Do(t, "", "grant", "remove", "docs/new", "app:billing")
				x.Code = "credential_forbidden"
				both()
				old.Stop(t)
				if s.schema < latest(t, e) {
					again := start()
					select {
					case <-again.Done():
					case <-time.After(60 * time.Second):
						t.Fatal("the former version starts again on tables of the new one")
					}
				}
			})
		}
	}
}

// lend gives a server that shares the sample's store the same keys.
func lend(t *testing.T, s *sample, k *harness.Keybearer) {
	t.Helper()
	if err := os.Mkdir(k.Home, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"keyring.key", "keyring.key.ring"} {
		text, err := os.ReadFile(filepath.Join(s.home, name))
		if err != nil {
			t.Fatal(err)
		}
		harness.WriteFile(t, filepath.Join(k.Home, name), text)
	}
}
