package vaultclient

import (
	"context"
	"errors"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/test/harness"
)

// recovers waits until reading works again.
func recovers(t *testing.T, c *Client) {
	t.Helper()
	harness.Await(t, "the client recovers", 5*time.Second, func() error { return read(t.Context(), c) })
}

// Whatever keeps Vault from answering is told from an answer, and the same client serves when Vault is back, with its old token
// where that still lives.
func TestOutages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, harness.VaultOptions{Persistent: true}, nil)
	c := newClient(t, w.config())
	reads(t, c)
	first := c.current

	for _, outage := range []struct {
		name       string
		begin, end func()
		status     int
		says       string
	}{
		{"sealed", func() { w.Seal(t) }, func() { w.Unseal(t) }, 503, "sealed"},
		{"down", func() { w.Stop(t) }, func() { w.Start(t) }, 0, "does not answer"},
		{"killed and sealed", func() { w.Kill(); w.StartSealed(t) }, func() { w.Unseal(t) }, 503, "sealed"},
	} {
		t.Run(outage.name, func(t *testing.T) {
			outage.begin()
			err := read(t.Context(), c)
			if !Away(err) || Status(err) != outage.status {
				t.Errorf("got %v, want status %d and nobody there", err, outage.status)
			}
			if e := Describe(keybearer.KeyringUnavailable, "", err); !strings.Contains(e.Detail, outage.says) || e.Hint == "" {
				t.Errorf("described as %q, hint %q; want %q in it", e.Detail, e.Hint, outage.says)
			}
			if c.Away().IsZero() {
				t.Error("the client does not say that nobody answers")
			}
			began := time.Now()
			for range 1000 { // the breaker answers, and lets one through in each second
				if err := read(t.Context(), c); !Away(err) {
					t.Fatal(err)
				}
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("a thousand calls took %v while nobody answers", took)
			}
			outage.end()
			recovers(t, c)
			if !c.Away().IsZero() {
				t.Error("the client says that nobody answers")
			}
		})
	}
	if c.current != first {
		t.Error("it has logged in again, though the token outlived it all")
	}
}

// A Vault that is not there at the start is no reason not to start.
func TestStartsWithoutVault(t *testing.T) {
	t.Parallel()
	w := newWorld(t, harness.VaultOptions{Persistent: true}, nil)
	w.Stop(t)
	c := newClient(t, w.config())
	if err := read(t.Context(), c); !Away(err) {
		t.Errorf("with no Vault: %v", err)
	}
	w.Start(t)
	recovers(t, c)
}

// One that takes the connection and says nothing costs a call its timeout, and the ones after it nothing.
func TestSilentServer(t *testing.T) {
	silent := harness.StartServer(t, harness.ServerOptions{Handler: hang})
	role := harness.WriteFile(t, t.TempDir()+"/id", []byte("x"))
	c := newClient(t, Config{Address: "http://" + silent.Addr.String(), Timeout: 200 * time.Millisecond, Auth: &AppRole{RoleID: "r", SecretIDFile: role}})
	began := time.Now()
	var wg sync.WaitGroup
	for range 500 {
		wg.Go(func() {
			if err := read(t.Context(), c); !Away(err) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("500 calls took %v", took)
	}
	if n := len(silent.All()); n > 20 {
		t.Errorf("%d requests were sent to a server that does not answer", n)
	}
}

// What a caller gives up says nothing about Vault: the others' calls go through.
func TestCallerGoesAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, harness.VaultOptions{}, nil)
	c := newClient(t, w.config())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 { // some wait for a slot, some for the login
		if err := read(ctx, c); !errors.Is(err, context.Canceled) || !Away(err) {
			t.Errorf("a cancelled call: %v", err)
		}
	}
	if !c.Away().IsZero() {
		t.Error("the breaker counts the caller's own going")
	}
	reads(t, c)
}

// Status codes of a proxy or a Vault that is not the active one mean that nobody answered; the client follows no redirect.
func TestForeignAnswers(t *testing.T) {
	for status, away := range map[int]bool{
		301: true, 307: true, 429: true, 472: true, 473: true, 500: true, 502: true, 503: true, 504: true, 400: false, 403: false, 404: false, 405: false,
	} {
		s := harness.StartServer(t, harness.ServerOptions{Handler: answer(status)})
		c := newClient(t, Config{Address: "http://" + s.Addr.String(), Auth: &TokenFile{Path: harness.WriteFile(t, t.TempDir()+"/token", []byte("hvs.x"))}})
		err := read(t.Context(), c)
		if Status(err) != status || Away(err) != away {
			t.Errorf("%d: %v, away %v", status, err, Away(err))
		}
		if n := len(s.All()); n != 1 {
			t.Errorf("%d: %d requests, want 1", status, n)
		}
	}
}

// A token that was revoked costs the caller nothing: the client logs in again, once, however many find out.
func TestRevokedToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, harness.VaultOptions{}, nil)
	c := newClient(t, w.config())
	reads(t, c)
	first := c.current
	c.current.since = time.Now().Add(-time.Minute) // no login of this moment
	w.Must(t, "POST", "auth/token/revoke", map[string]any{"token": first.value.Reveal()})
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			if err := read(t.Context(), c); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if c.current == first {
		t.Fatal("it has not logged in again")
	}
	if n := tokens(t, w); n != 2 { // root's, and the new one
		t.Errorf("Vault holds %d tokens, want 2", n)
	}
}

func tokens(t *testing.T, w *world) int {
	t.Helper()
	return len(w.Must(t, "LIST", "auth/token/accessors", nil).Data(t)["keys"].([]any))
}

// A refusal for want of a right makes no new token, and one call of the two.
func TestForbiddenIsNoReasonToLogIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, harness.VaultOptions{}, nil)
	c := newClient(t, w.config())
	reads(t, c)
	c.current.since = time.Now().Add(-time.Minute)
	for range 50 {
		if _, err := c.Read(t.Context(), "kv/metadata/one"); Status(err) != 403 || Away(err) {
			t.Fatalf("got %v", err)
		}
	}
	if n := tokens(t, w); n != 2 {
		t.Errorf("Vault holds %d tokens, want 2", n)
	}
}

// When the secret id is used up and the token revoked, the client says so, does not storm Vault with logins, and serves
// again soon after a new secret id is in the file.
func TestSecretIDUsedUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, harness.VaultOptions{}, map[string]any{"secret_id_num_uses": 1})
	c := newClient(t, w.config())
	reads(t, c)
	c.current.since = time.Now().Add(-time.Minute)
	w.Must(t, "POST", "auth/token/revoke", map[string]any{"token": c.current.value.Reveal()})
	for range 100 {
		err := read(t.Context(), c)
		if e, ok := errors.AsType[*Error](err); !ok || !e.Login || e.Away() {
			t.Fatalf("got %v, want a refused login", err)
		} else if k := Describe(keybearer.KeyringUnavailable, "", err); !strings.Contains(k.Hint, "secret id") {
			t.Fatalf("hint %q", k.Hint)
		}
	}
	if c.refused != 1 {
		t.Errorf("it has tried to log in %d times", c.refused)
	}
	w.NewSecretID(t, w.role)
	recovers(t, c)
}

// refusals puts a proxy before Vault that counts its 403s.
func refusals(t *testing.T, w *world) (address string, count func() int) {
	t.Helper()
	target, err := url.Parse(w.URL)
	if err != nil {
		t.Fatal(err)
	}
	var n atomic.Int32
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ModifyResponse = func(r *http.Response) error {
		if r.StatusCode == http.StatusForbidden {
			n.Add(1)
		}
		return nil
	}
	s := harness.StartServer(t, harness.ServerOptions{Handler: proxy})
	return "http://" + s.Addr.String(), func() int { return int(n.Load()) }
}

// The token is renewed while it can be, and replaced before its life ends: Vault sees no dead one.
func TestRenewal(t *testing.T) {
	for name, c := range map[string]struct {
		settings    map[string]any
		least, most int // tokens in six seconds
	}{
		"renewable":     {map[string]any{"token_ttl": "2s"}, 1, 1},
		"until its end": {map[string]any{"token_ttl": "2s", "token_max_ttl": "4s"}, 2, 4},
		"batch":         {map[string]any{"token_ttl": "3s", "token_type": "batch"}, 3, 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, harness.VaultOptions{}, c.settings)
			config := w.config()
			address, refused := refusals(t, w)
			config.Address = address
			client := newClient(t, config)
			seen := map[string]bool{}
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for end := time.Now().Add(6 * time.Second); time.Now().Before(end); <-tick.C {
				reads(t, client)
				client.mu.Lock()
				seen[client.current.value.Reveal()] = true
				client.mu.Unlock()
			}
			if n := len(seen); n < c.least || n > c.most {
				t.Errorf("%d tokens, want %d to %d", n, c.least, c.most)
			}
			if n := refused(); n > 0 {
				t.Errorf("Vault has refused %d times", n)
			}
		})
	}
}

// Close leaves no token behind, and nothing that goes on.
func TestClose(t *testing.T) {
	t.Parallel()
	w := newWorld(t, harness.VaultOptions{}, nil)
	c := newClient(t, w.config())
	reads(t, c)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if n := tokens(t, w); n != 1 {
		t.Errorf("Vault holds %d tokens after Close, want root's alone", n)
	}
	if err := read(t.Context(), c); err == nil {
		t.Error("it serves after Close")
	}
	if n := tokens(t, w); n != 1 {
		t.Errorf("a closed client has logged in")
	}
}

func TestMain(m *testing.M) {
	// What the vault command would use, and this client never does.
	for name, value := range map[string]string{
		"VAULT_ADDR": "http://127.0.0.1:1", "VAULT_TOKEN": "hvs.surprise", "VAULT_NAMESPACE": "surprise", "VAULT_SKIP_VERIFY": "true",
		"VAULT_AGENT_ADDR": "http://127.0.0.1:1", "VAULT_HTTP_PROXY": "http://127.0.0.1:1", "VAULT_PROXY_ADDR": "http://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1",
		"HTTPS_PROXY": "http://127.0.0.1:1", "VAULT_HEADERS": `{"Surprise": "yes"}`, "VAULT_MAX_RETRIES": "9", "VAULT_CLIENT_TIMEOUT": "1ms", "VAULT_RATE_LIMIT": "1:1",
		"VAULT_SRV_LOOKUP": "true", "VAULT_DISABLE_REDIRECTS": "false", "VAULT_TLS_SERVER_NAME": "surprise",
	} {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// A network that swallows packets, or cuts, under 5,000 callers: all of them hear of it, few of them find out, and when it is mended the client
// serves again, on new connections, with the token that it had.
func TestPartition(t *testing.T) {
	t.Parallel()
	w := newWorld(t, harness.VaultOptions{}, nil)
	cable := harness.StartCable(t, w.Addr)
	config := w.config()
	config.Address = "http://" + cable.Addr.String()
	c := newClient(t, config)
	all := func(n int) (failed int) {
		var wg sync.WaitGroup
		var bad atomic.Int32
		for range n {
			wg.Go(func() {
				if err := read(t.Context(), c); err != nil {
					bad.Add(1)
					if !Away(err) {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		return int(bad.Load())
	}
	reads(t, c)
	token := c.current
	for name, outage := range map[string]func(){"stall": cable.Stall, "cut": cable.Cut} {
		if n := all(500); n > 0 {
			t.Errorf("%s: %d failed before", name, n)
		}
		connections := cable.Connections()
		outage()
		began := time.Now()
		if n := all(5000); n != 5000 {
			t.Errorf("%s: %d of 5000 were answered", name, 5000-n)
		}
		if took := time.Since(began); took > 3*DefaultTimeout {
			t.Errorf("%s: 5000 callers waited %v", name, took)
		}
		if n := cable.Connections() - connections; n > limit+10 {
			t.Errorf("%s: %d new connections", name, n)
		}
		cable.Mend(t)
		began = time.Now()
		recovers(t, c)
		t.Logf("%s: mended, it served %v later", name, time.Since(began))
		if n := all(500); n > 0 {
			t.Errorf("%s: %d failed after", name, n)
		}
	}
	if c.current != token {
		t.Error("it has logged in again")
	}
}

// A variable that the library itself chokes on is named, not used.
func TestBrokenEnvironment(t *testing.T) {
	w := newWorld(t, harness.VaultOptions{}, nil)
	t.Setenv("VAULT_CACERT", "/none/ca.pem")
	if _, err := New(w.config()); keybearer.CodeOf(err) != keybearer.Invalid || !strings.Contains(keybearer.AsError(err).Hint, "unset VAULT_CACERT") {
		t.Errorf("got %v", err)
	}
}
