package transit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/test/harness"
)

func contextOf(n int) keybearer.SealContext {
	sc, err := keybearer.NewSealContext("scp_a", 1, fmt.Sprint("crd_", n), 1, bytes.Repeat([]byte{7}, 32))
	if err != nil {
		panic(err)
	}
	return sc
}

func (w *world) sealed(t *testing.T, k *Keyring, key string, n int, plaintext string) []byte {
	t.Helper()
	sealed, err := k.Seal(t.Context(), key, contextOf(n), []byte(plaintext))
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func createKey(t *testing.T, k *Keyring, name string) {
	t.Helper()
	if err := k.CreateKey(t.Context(), name); err != nil {
		t.Fatal(err)
	}
}

// opens is for [harness.Await].
func opens(t *testing.T, k *Keyring, key string, n int, sealed []byte, want string) error {
	got, err := k.Open(t.Context(), key, contextOf(n), sealed)
	if err == nil && string(got) != want {
		err = errors.New("it opens to something else")
	}
	return err
}

// Where nobody answers, what was opened before may still serve; an answer that gives no plaintext ends that. This is the line between
// the two, as the contract draws it.
func TestWhatAnswersMeanForOpen(t *testing.T) {
	t.Parallel()
	w := &world{Vault: harness.StartVault(t, harness.VaultOptions{Persistent: true}), mount: "keybearer"}
	w.data, w.control = w.Transit(t, w.mount)
	k := w.open(t)
	createKey(t, k, "one")
	sealed := w.sealed(t, k, "one", 1, "secret")
	if err := opens(t, k, "one", 1, sealed, "secret"); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Open(t.Context(), "one", contextOf(2), sealed); !errors.Is(err, keybearer.ErrUnopenable) || errors.Is(err, keybearer.ErrRefused) {
		t.Errorf("another context: %v", err)
	}
	policy := harness.DocumentedPolicies(t, "docs/vault.md")["keybearer-data"]
	for _, c := range []struct {
		name       string
		begin, end func()
		answered   bool
		hint       string
	}{
		{"sealed", func() { w.Vault.Seal(t) }, func() { w.Unseal(t) }, false, "unseal"},
		{"down", func() { w.Stop(t) }, func() { w.Start(t) }, false, "check that it runs"},
		{"rate limited", func() {
			w.Must(t, "PUT", "sys/quotas/rate-limit/none", map[string]any{"path": "keybearer/", "rate": 0.001, "interval": "2s"})
			_, _ = k.Open(t.Context(), "one", contextOf(1), sealed) // uses up what there is
		}, func() { w.Must(t, "DELETE", "sys/quotas/rate-limit/none", nil) }, false, "quota"},
		{"the right is taken", func() { w.Policy(t, "keybearer-data", strings.Replace(policy, "decrypt", "elsewhere", 1)) }, func() { w.Policy(t, "keybearer-data", policy) }, true, "doctor"},
		{"the mount moved", func() { w.move(t, "keybearer", "elsewhere") }, func() { w.move(t, "elsewhere", "keybearer") }, true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.begin()
			_, err := k.Open(t.Context(), "one", contextOf(1), sealed)
			if keybearer.CodeOf(err) != keybearer.KeyringUnavailable || errors.Is(err, keybearer.ErrUnopenable) != c.answered {
				t.Errorf("got %v; want keyring_unavailable, and that it was answered: %v", err, c.answered)
			}
			if errors.Is(err, keybearer.ErrRefused) != c.answered {
				t.Errorf("%v says of the ciphertext what was said of the role or the mount", err)
			}
			if err != nil && !strings.Contains(keybearer.AsError(err).Advice(), c.hint) {
				t.Errorf("hint %q, want %q in it", keybearer.AsError(err).Advice(), c.hint)
			}
			c.end()
			harness.Await(t, "it opens again", 5*time.Second, func() error { return opens(t, k, "one", 1, sealed, "secret") })
		})
	}
}

// Nobody is advised to replace a secret because the login fails, which Vault refuses with 400, too.
func TestALoginThatIsRefusedIsNoWordAboutTheSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := w.open(t)
	createKey(t, k, "one")
	sealed := w.sealed(t, k, "one", 1, "secret")
	bad := w.data
	bad.SecretIDFile = harness.WriteFile(t, t.TempDir()+"/id", []byte("0c4d2b1e-aaaa-bbbb-cccc-000000000000"))
	out := New(Config{Mount: w.mount, Data: w.client(t, bad)})
	defer out.Close()
	_, err := out.Open(t.Context(), "one", contextOf(1), sealed)
	if e := keybearer.AsError(err); keybearer.CodeOf(err) != keybearer.KeyringUnavailable || !strings.Contains(e.Hint, "secret id") {
		t.Errorf("%v; %s", err, e.Advice())
	}
	if !errors.Is(err, keybearer.ErrUnopenable) || !errors.Is(err, keybearer.ErrRefused) {
		t.Errorf("%v", err)
	}
}

// move remounts an engine and waits until it is there.
func (w *world) move(t *testing.T, from, to string) {
	t.Helper()
	w.Must(t, "POST", "sys/remount", map[string]any{"from": from, "to": to})
	harness.Await(t, "the mount moves", 10*time.Second, func() error {
		if a := w.Do(t, "GET", to+"/config/keys", nil); a.Status != 200 {
			return errors.New(string(a.Body))
		}
		return nil
	})
}

// A mount that is not there says nothing of keys: none is taken for absent or destroyed, no secret for spoilt.
func TestMountThatIsNotThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := w.open(t)
	createKey(t, k, "one")
	sealed := w.sealed(t, k, "one", 1, "secret")
	w.Policy(t, "keybearer-control", `path "*" { capabilities = ["create", "read", "update", "delete", "list"] }`) // or Vault would say 403
	w.move(t, "keybearer", "elsewhere")
	_, version := k.KeyVersion(t.Context(), "one")
	_, rotate := k.RotateKey(t.Context(), "one")
	_, seal := k.Seal(t.Context(), "one", contextOf(1), []byte("x"))
	results, rewrap := k.Rewrap(t.Context(), "one", []keybearer.RewrapItem{{Context: contextOf(1), Sealed: sealed}})
	for op, err := range map[string]error{
		"CreateKey": k.CreateKey(t.Context(), "two"), "KeyVersion": version, "RotateKey": rotate, "DestroyKey": k.DestroyKey(t.Context(), "one"), "Seal": seal, "Rewrap": rewrap,
	} {
		if keybearer.CodeOf(err) != keybearer.KeyringUnavailable || errors.Is(err, keybearer.ErrUnopenable) || !strings.Contains(keybearer.AsError(err).Advice(), "mount") {
			t.Errorf("%s: %v", op, err)
		}
	}
	if results != nil {
		t.Errorf("Rewrap gave %v", results)
	}
}

// A whole Rewrap that is refused or unanswered leaves all items as they were.
func TestRewrapAsAWhole(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := w.open(t)
	createKey(t, k, "one")
	items := []keybearer.RewrapItem{{Context: contextOf(1), Sealed: w.sealed(t, k, "one", 1, "secret")}}
	if _, err := k.RotateKey(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	w.Policy(t, "keybearer-control", `path "keybearer/keys/+" { capabilities = ["read"] }
		path "auth/token/lookup-self" { capabilities = ["read"] }`)
	if results, err := k.Rewrap(t.Context(), "one", items); results != nil || keybearer.CodeOf(err) != keybearer.KeyringUnavailable || errors.Is(err, keybearer.ErrUnopenable) {
		t.Errorf("without the right: %v, %v", results, err)
	}
	w.Vault.Seal(t)
	if results, err := k.Rewrap(t.Context(), "one", items); results != nil || keybearer.CodeOf(err) != keybearer.KeyringUnavailable || errors.Is(err, keybearer.ErrUnopenable) {
		t.Errorf("sealed: %v, %v", results, err)
	}
}

// More than a batch, of many and of large secrets, with bad ones in each.
func TestRewrapInBatches(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := w.open(t)
	createKey(t, k, "one")
	small := w.sealed(t, k, "one", 1, "small")
	large := w.sealed(t, k, "one", 1, strings.Repeat("L", keybearer.MaxBundle))
	var items []keybearer.RewrapItem
	for i := range 2500 {
		sealed, n := small, 1
		if i < 1000 && i%10 == 0 {
			sealed = large
		}
		if i%100 == 7 {
			n = 2 // another context
		}
		items = append(items, keybearer.RewrapItem{Context: contextOf(n), Sealed: sealed})
	}
	if _, err := k.RotateKey(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	k = w.behind(t, func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/rewrap/") {
			body, err := io.ReadAll(r.Body)
			if n := bytes.Count(body, []byte("ciphertext")); err != nil || n > 1000 || len(body) > 5<<20 {
				t.Errorf("a batch of %d secrets and %d bytes, %v", n, len(body), err)
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		return false
	}, func(r *http.Response) error {
		// Other versions say 400 where one item is bad, which this one does only where all are.
		if strings.Contains(r.Request.URL.Path, "/rewrap/") {
			r.StatusCode = http.StatusBadRequest
		}
		return nil
	})
	results, err := k.Rewrap(t.Context(), "one", items)
	if err != nil || len(results) != len(items) {
		t.Fatal(len(results), err)
	}
	for i, r := range results {
		switch {
		case i%100 == 7:
			if !errors.Is(r.Err, keybearer.ErrUnopenable) || r.Sealed != nil {
				t.Errorf("item %d, of another context: %v", i, r.Err)
			}
		case r.Err != nil || version(r.Sealed) != 2:
			t.Errorf("item %d: %v", i, r.Err)
		case i < 1000 && i%300 == 0:
			if err := opens(t, k, "one", 1, r.Sealed, strings.Repeat("L", keybearer.MaxBundle)); err != nil {
				t.Errorf("item %d: %v", i, err)
			}
		}
	}
}

// Sealing makes no key: neither by the policy alone nor by the switch alone.
func TestSealingMakesNoKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	root := New(Config{Mount: w.mount, Data: w.root(t), Control: w.root(t)})
	if _, err := root.Seal(t.Context(), "absent", contextOf(1), []byte("x")); keybearer.CodeOf(err) != keybearer.NotFound {
		t.Errorf("with all rights, and disable_upsert: %v", err)
	}
	w.Must(t, "PUT", "keybearer/config/keys", map[string]any{"disable_upsert": false})
	if _, err := w.open(t).Seal(t.Context(), "absent", contextOf(1), []byte("x")); keybearer.CodeOf(err) != keybearer.NotFound {
		t.Errorf("without disable_upsert, and with the policy: %v", err)
	}
	if a := w.Do(t, "GET", "keybearer/keys/absent", nil); a.Status != 404 {
		t.Errorf("the key is there: %s", a.Body)
	}
}

// Destroying goes on until the key is gone, whoever else destroys it, and says so only then.
func TestDestroyTogether(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rings := []*Keyring{w.open(t), w.open(t), w.open(t)}
	for n := range 20 {
		key := fmt.Sprint("key-", n)
		createKey(t, rings[0], key)
		var wg sync.WaitGroup
		for _, k := range rings {
			wg.Go(func() {
				if err := k.DestroyKey(t.Context(), key); err != nil {
					t.Error(err)
				}
				if a := w.Do(t, "GET", "keybearer/keys/"+key, nil); a.Status != 404 {
					t.Errorf("destroyed, and still there: %s", a.Body)
				}
			})
		}
		wg.Wait()
	}
	k := rings[0]
	createKey(t, k, "kept")
	w.Vault.Seal(t)
	if err := k.DestroyKey(t.Context(), "kept"); keybearer.CodeOf(err) != keybearer.KeyringUnavailable {
		t.Errorf("sealed: %v", err)
	}
	w.Unseal(t)
	harness.Await(t, "the key is destroyed", 5*time.Second, func() error { return k.DestroyKey(t.Context(), "kept") })
}

// DestroyKey believes what it sees, not what it is told.
func TestDestroyLooksAfter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	swallowed := 0
	k := w.behind(t, func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Method != "DELETE" || swallowed == 3 {
			return false
		}
		swallowed++
		rw.WriteHeader(http.StatusNoContent)
		return true
	}, nil)
	createKey(t, k, "one")
	if err := k.DestroyKey(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	if a := w.Do(t, "GET", "keybearer/keys/one", nil); a.Status != 404 || swallowed != 3 {
		t.Errorf("the key is there, after %d tries that were swallowed", swallowed)
	}
}

// A keyring without the control role opens, and does nothing else.
func TestOpenOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	full := w.open(t)
	createKey(t, full, "one")
	sealed := w.sealed(t, full, "one", 1, "secret")
	k := New(Config{Mount: w.mount, Data: w.client(t, w.data)})
	t.Cleanup(func() { _ = k.Close() })
	if full.OpenOnly() || !k.OpenOnly() {
		t.Error("OpenOnly is the wrong way round")
	}
	if err := opens(t, k, "one", 1, sealed, "secret"); err != nil {
		t.Error(err)
	}
	_, version := k.KeyVersion(t.Context(), "one")
	_, rotate := k.RotateKey(t.Context(), "one")
	_, seal := k.Seal(t.Context(), "one", contextOf(1), []byte("x"))
	_, rewrap := k.Rewrap(t.Context(), "one", nil)
	for op, err := range map[string]error{
		"CreateKey": k.CreateKey(t.Context(), "two"), "KeyVersion": version, "RotateKey": rotate, "DestroyKey": k.DestroyKey(t.Context(), "one"), "Seal": seal, "Rewrap": rewrap,
	} {
		if keybearer.CodeOf(err) != keybearer.KeyringUnavailable || keybearer.AsError(err).Detail != "this server only opens secrets" {
			t.Errorf("%s: %v", op, err)
		}
	}
}

// No token, secret or ciphertext stands in an error.
func TestErrorsTellNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := w.open(t)
	createKey(t, k, "one")
	sealed := w.sealed(t, k, "one", 1, "canary-plaintext")
	binary := string(sealed[len("vault:v1:"):])
	_, wrong := k.Open(t.Context(), "one", contextOf(2), sealed)
	_, malformed := k.Open(t.Context(), "one", contextOf(1), sealed[:len(sealed)-1])
	_, absent := k.Seal(t.Context(), "absent", contextOf(1), []byte("canary-plaintext"))
	w.Stop(t)
	_, away := k.Open(t.Context(), "one", contextOf(1), sealed)
	for _, err := range []error{wrong, malformed, absent, away} {
		if err == nil {
			t.Fatal("no error")
		}
		text := fmt.Sprintf("%v %+v %#v", err, err, err)
		if strings.Contains(text, "canary") || strings.Contains(text, binary) {
			t.Errorf("an error tells: %s", text)
		}
		if e := keybearer.AsError(err); strings.Contains(e.Detail+e.Hint, "127.") {
			t.Errorf("an error tells the address: %s, %s", e.Detail, e.Hint)
		}
	}
}

// A proxy that has lost Vault answers 404 or 200 for itself. None of that says that a key is gone, or what kind it is.
func TestForeignAnswersSayNothingOfAKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, foreign := range map[string]func(http.ResponseWriter){
		"404 without a body": func(rw http.ResponseWriter) { rw.WriteHeader(http.StatusNotFound) },
		"404 null":           func(rw http.ResponseWriter) { rw.WriteHeader(http.StatusNotFound); _, _ = io.WriteString(rw, "null") },
		"404 of another API": func(rw http.ResponseWriter) { rw.WriteHeader(http.StatusNotFound); _, _ = io.WriteString(rw, "{}") },
		"200 without a body": func(http.ResponseWriter) {},
	} {
		t.Run(name, func(t *testing.T) {
			var left atomic.Int32 // requests for keys that still reach Vault
			k := w.behind(t, func(rw http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, "/keys/") || left.Add(-1) >= 0 {
					return false
				}
				foreign(rw)
				return true
			}, nil)
			key := strings.ReplaceAll(name, " ", "-")
			left.Store(3)
			createKey(t, k, key)
			if err := k.DestroyKey(t.Context(), key); keybearer.CodeOf(err) != keybearer.KeyringUnavailable {
				t.Errorf("destroying gave %v", err)
			}
			if _, err := k.KeyVersion(t.Context(), key); keybearer.CodeOf(err) != keybearer.KeyringUnavailable {
				t.Errorf("the version gave %v", err)
			}
			if _, err := w.open(t).KeyVersion(t.Context(), key); err != nil {
				t.Errorf("the key is gone: %v", err)
			}
			left.Store(2)
			if err := k.CreateKey(t.Context(), key+"2"); keybearer.CodeOf(err) != keybearer.KeyringUnavailable {
				t.Errorf("creating gave %v", err)
			}
		})
	}
}
