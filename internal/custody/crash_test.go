package custody_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

// keys remembers the names of all keys that were ever made.
type keys struct {
	keybearer.Keyring
	names []string
}

func (k *keys) CreateKey(ctx context.Context, key string) error {
	k.names = append(k.names, key)
	return k.Keyring.CreateKey(ctx, key)
}

// village is a scope with live, disabled and deleted credentials, some with a previous version, and another scope beside it.
type village struct {
	scope   *keybearer.Scope
	creds   []*keybearer.Credential
	secrets map[string]string // by credential id and version
	others  string
}

func (l *lab) village() village {
	l.t.Helper()
	ctx := l.t.Context()
	l.scope("ops")
	l.credential("ops", "a", "other", "a.example.com")
	if _, err := l.CreateScope(ctx, by(root), "bare", ""); err != nil {
		l.t.Fatal(err)
	}
	l.scope("docs")
	must := func(_ custody.Credential, err error) {
		l.t.Helper()
		if err != nil {
			l.t.Fatal(err)
		}
	}
	for i := range 5 {
		name := fmt.Sprintf("c%d", i)
		l.credential("docs", name, name+"-one", name+".example.com")
		if i%2 == 0 {
			must(l.SetSecret(ctx, by(root), ref("docs", name), text(name+"-two")))
		}
	}
	must(l.DisableCredential(ctx, by(root), ref("docs", "c1")))
	must(l.DeleteCredential(ctx, by(root), ref("docs", "c2"), true))
	must(l.DeleteCredential(ctx, by(root), ref("docs", "c3"), true))
	v := village{scope: l.scopeRecord("docs"), secrets: map[string]string{}}
	page, err := l.store.Credentials(ctx, keybearer.Query{ScopeID: v.scope.ID, Deleted: true})
	if err != nil {
		l.t.Fatal(err)
	}
	v.creds = page.Items
	v.others = l.dump("ops") + l.dump("global")
	for id, s := range l.openAll(v.scope, v.creds) {
		v.secrets[id] = s
	}
	if len(v.secrets) != 8 {
		l.t.Fatalf("%d sealed versions", len(v.secrets))
	}
	return v
}

// openAll opens every sealed version; one that does not open is "".
func (l *lab) openAll(s *keybearer.Scope, creds []*keybearer.Credential) map[string]string {
	out := map[string]string{}
	for _, c := range creds {
		for _, v := range []*keybearer.Version{&c.Current, c.Previous} {
			if v == nil || len(v.Sealed) == 0 {
				continue
			}
			key := fmt.Sprintf("%s %d", c.ID, v.Number)
			out[key] = ""
			if b, err := l.opened(s, c.ID, v); err == nil {
				out[key] = b.Secret.Reveal()
			}
		}
	}
	return out
}

func (l *lab) inScope(s *keybearer.Scope) []*keybearer.Credential {
	l.t.Helper()
	page, err := l.store.Credentials(context.Background(), keybearer.Query{ScopeID: s.ID, Deleted: true})
	if err != nil {
		l.t.Fatal(err)
	}
	return page.Items
}

// crashes runs an operation on a village with a crash at its first outside step, its second and so on, each before and after the step took
// effect, until it goes through. After each crash everything is opened again and resumed, and check judges what is there.
func crashes(t *testing.T, op func(context.Context, *lab) error, check func(t *testing.T, l *lab, v village, made []string, acknowledged bool)) {
	crashesWith(t, func(*lab) {}, op, check)
}

// crashesWith is crashes with a lab that prepare changes before it is opened again for the operation.
func crashesWith(t *testing.T, prepare func(*lab), op func(context.Context, *lab) error,
	check func(t *testing.T, l *lab, v village, made []string, acknowledged bool),
) {
	steps := 0
	for _, after := range []bool{false, true} {
		for n := 1; ; n++ {
			done := false
			t.Run(fmt.Sprintf("%d/%v", n, after), func(t *testing.T) {
				made := new(keys)
				l := newLab(t)
				v := l.village()
				l.close()
				prepare(l)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				f := &fuse{after: after, blow: cancel}
				l.open(func(cfg *custody.Config) {
					made.Keyring = cfg.Keyring
					cfg.Keyring = made
					f.behind(cfg)
				})
				f.left = n
				err := op(ctx, l)
				done = !f.dead()
				if done && err != nil {
					t.Fatal(err)
				}
				l.close()
				l.open()
				if err := l.Settled(t.Context()); err != nil {
					t.Fatal(err)
				}
				for _, name := range []string{"docs", "bare"} {
					if s := l.scopeRecord(name); s.Work != nil || len(s.DoomedKeys) != 0 {
						t.Errorf("the journal is not empty: %+v %v", s.Work, s.DoomedKeys)
					}
				}
				if diff := cmp.Diff(v.others, l.dump("ops")+l.dump("global")); diff != "" {
					t.Errorf("other scopes changed: %s", diff)
				}
				check(t, l, v, made.names, err == nil)
			})
			if t.Failed() {
				return
			}
			if done {
				break
			}
			steps++
		}
	}
	t.Logf("%d crashes", steps)
}

// onlyKey checks that of all the keys of the scope there is just the one in use.
func (l *lab) onlyKey(s *keybearer.Scope, names ...string) {
	l.t.Helper()
	for _, name := range names {
		_, err := l.keyring.KeyVersion(context.Background(), name)
		if inUse := s.Key != nil && s.Key.Name == name; inUse != (err == nil) {
			l.t.Errorf("key %s: in use %v, in the keyring: %v", name, inUse, err)
		}
	}
}

func (l *lab) oneLine(a custody.Action, want int) {
	l.t.Helper()
	n := 0
	for _, e := range l.action(a) {
		if e.Scope == "docs" && e.ID == "req_test" {
			n++
		}
	}
	if n != want {
		l.t.Errorf("%d audit lines of %s, want %d", n, a, want)
	}
	if pending, err := l.store.Events(context.Background(), 10); err != nil || len(pending) != 0 {
		l.t.Errorf("%d events wait, %v", len(pending), err)
	}
}

var test = custody.Ask{Actor: root, ID: "req_test"}

func TestCrashInGenerate(t *testing.T) {
	crashes(t, func(ctx context.Context, l *lab) error {
		_, err := l.GenerateKey(ctx, test, "bare")
		return err
	}, func(t *testing.T, l *lab, v village, made []string, acknowledged bool) {
		s := l.scopeRecord("bare")
		l.onlyKey(s, made...)
		if s.Key == nil {
			if acknowledged {
				t.Error("an acknowledged key was lost")
			}
			if _, err := l.GenerateKey(t.Context(), by(root), "bare"); err != nil {
				t.Error(err)
			}
		}
		l.credential("bare", "fresh", "fresh", "a.example.com")
		if got := l.secretOf(ref("bare", "fresh")); got != "fresh" {
			t.Errorf("got %q", got)
		}
	})
}

func TestCrashInRotate(t *testing.T) {
	crashes(t, func(ctx context.Context, l *lab) error {
		_, err := l.RotateKey(ctx, test, "docs")
		return err
	}, func(t *testing.T, l *lab, v village, _ []string, acknowledged bool) {
		s := l.scopeRecord("docs")
		creds := l.inScope(s)
		if diff := cmp.Diff(v.secrets, l.openAll(s, creds)); diff != "" {
			t.Errorf("secrets changed: %s", diff)
		}
		lines := 1
		if s.Key.Version == 1 {
			lines = 0
			if acknowledged {
				t.Error("an acknowledged rotation was lost")
			}
		}
		for i, c := range creds { // nothing but the sealing changed
			for _, version := range []*keybearer.Version{&c.Current, c.Previous} {
				if version != nil && lines == 1 && strings.HasPrefix(string(version.Sealed), "local:v1:") {
					t.Errorf("%s version %d is not rewrapped", c.Name, version.Number)
				}
			}
			was, now := v.creds[i].Clone(), c.Clone()
			for _, r := range []*keybearer.Credential{was, now} {
				r.Revision, r.Current.Sealed = 0, nil
				if r.Previous != nil {
					r.Previous.Sealed = nil
				}
			}
			if diff := cmp.Diff(was, now); diff != "" {
				t.Error(diff)
			}
		}
		l.oneLine(custody.ScopeRotate, lines)
	})
}

func TestCrashInRegenerate(t *testing.T) {
	for _, shells := range []bool{false, true} {
		t.Run(fmt.Sprintf("shells=%v", shells), func(t *testing.T) {
			crashes(t, func(ctx context.Context, l *lab) error {
				_, err := l.RegenerateKey(ctx, test, "docs", custody.Regenerate{
					Confirmation: custody.Confirmation{Confirm: "docs", Expected: 5}, KeepShells: shells,
				})
				return err
			}, func(t *testing.T, l *lab, v village, made []string, acknowledged bool) {
				s := l.scopeRecord("docs")
				creds := l.inScope(s)
				l.onlyKey(s, append(made, v.scope.Key.Name)...)
				if s.Generation == 1 {
					if acknowledged {
						t.Error("an acknowledged regenerate was lost")
					}
					if diff := cmp.Diff(v.secrets, l.openAll(s, creds)); diff != "" {
						t.Errorf("it did not happen and secrets changed: %s", diff)
					}
					l.oneLine(custody.ScopeRegenerate, 0)
					return
				}
				l.oneLine(custody.ScopeRegenerate, 1)
				if s.Generation != 2 || s.Key.Generation != 2 || s.Key.Name == v.scope.Key.Name || string(s.Key.Share) == string(v.scope.Key.Share) {
					t.Errorf("%+v %+v", s, s.Key)
				}
				for _, scope := range []*keybearer.Scope{v.scope, s} { // neither the old key nor the new one
					for id, secret := range l.openAll(scope, v.creds) {
						if secret != "" {
							t.Errorf("%s of an old backup opens", id)
						}
					}
				}
				if !shells && len(creds) != 0 {
					t.Errorf("%d credentials are left", len(creds))
				}
				if shells {
					if len(creds) != 5 {
						t.Errorf("%d shells", len(creds))
					}
					for i, c := range creds {
						if len(c.Current.Sealed) != 0 || c.Previous != nil || texts(c.Current.Terms) != texts(v.creds[i].Current.Terms) {
							t.Errorf("shell %+v", c)
						}
					}
					c, err := l.SetSecret(t.Context(), by(root), ref("docs", "c0"), text("again"))
					if err != nil || c.State != keybearer.Active || c.Version != 3 {
						t.Errorf("%+v, %v", c, err)
					}
				}
				l.credential("docs", "fresh", "fresh", "a.example.com") // it serves again
				if got := l.secretOf(ref("docs", "fresh")); got != "fresh" {
					t.Errorf("got %q", got)
				}
			})
		})
	}
}

func TestCrashInDelete(t *testing.T) {
	crashes(t, func(ctx context.Context, l *lab) error {
		for _, name := range []string{"c0", "c1", "c4"} {
			if _, err := l.DeleteCredential(ctx, by(root), ref("docs", name), true); err != nil {
				return err
			}
		}
		_, err := l.DeleteScope(ctx, test, "docs", custody.Confirmation{Confirm: "docs", Expected: 5})
		return err
	}, func(t *testing.T, l *lab, v village, made []string, acknowledged bool) {
		s := l.scopeRecord("docs")
		l.onlyKey(s, append(made, v.scope.Key.Name)...)
		if s.DeletedAt.IsZero() {
			if acknowledged {
				t.Error("an acknowledged delete was lost")
			}
			if diff := cmp.Diff(v.secrets, l.openAll(s, l.inScope(s))); diff != "" {
				t.Error(diff)
			}
			l.oneLine(custody.ScopeDelete, 0)
			return
		}
		l.oneLine(custody.ScopeDelete, 1)
		if n := len(l.inScope(s)); n != 0 || s.Key != nil {
			t.Errorf("%d credentials are left, key %v", n, s.Key)
		}
		for id, secret := range l.openAll(v.scope, v.creds) {
			if secret != "" {
				t.Errorf("%s opens", id)
			}
		}
	})
}

// Every change: what was acknowledged is there, what is there has its one line, and what was not done has none.
func TestCrashInChange(t *testing.T) {
	crashes(t, func(ctx context.Context, l *lab) error {
		_, err := l.SetSecret(ctx, test, ref("docs", "c0"), text("c0-three"))
		return err
	}, func(t *testing.T, l *lab, v village, _ []string, acknowledged bool) {
		c := l.record(ref("docs", "c0"))
		if c.Current.Number == 2 && acknowledged {
			t.Error("an acknowledged change was lost")
		}
		l.oneLine(custody.CredentialSetSecret, int(c.Current.Number)-2)
		if want := map[uint64]string{2: "c0-two", 3: "c0-three"}[c.Current.Number]; l.secretOf(ref("docs", "c0")) != want {
			t.Errorf("version %d is %q", c.Current.Number, l.secretOf(ref("docs", "c0")))
		}
	})
}
