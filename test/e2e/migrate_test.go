package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
	"github.com/keybearer/keybearer/test/harness"
)

const (
	perSecond = 500
	townSize  = 60 // credentials in each scope
)

// household is a credential that apps use while an operator gives it one secret after the other.
type household struct {
	ref   keybearer.Ref
	given atomic.Int64 // number of the last secret that was acknowledged
	tried atomic.Int64 // number of the last that was sent
	text  atomic.Pointer[string]
}

func (h *household) secret(n int64) string {
	return fmt.Sprintf("kb-%s-%s-%d", h.ref.Scope, h.ref.Name, n)
}

// Secrets move from the local keyring to Vault, records from SQLite to PostgreSQL, and secrets again to another mount of Vault, while apps send
// 500 requests a second and operators edit: no request fails, each carries the secret that was acknowledged last before it or a later one, and no edit
// is lost.
func TestMovingHouseUnderLoad(t *testing.T) {
	server := harness.StartPostgres(t)
	vault := harness.StartVault(t, harness.VaultOptions{})
	keyrings := map[string]string{}
	for _, mount := range []string{"keybearer", "second"} {
		data, control := vault.Transit(t, mount)
		keyrings[mount] = transitOf(vault, mount, data, control)
	}
	w := &world{t: t, ca: harness.NewCA(t), dns: harness.StartDNS(t), tokens: map[string]string{}, expected: map[string]field{}}
	w.Keybearer = harness.NewKeybearer(t, harness.KeybearerOptions{
		Options: w.options(), Env: []string{"KEYBEARER_DSN=" + server.Database(t)},
	})
	w.start()
	w.server("api.example.com", harness.ServerOptions{Forget: true, Handler: http.HandlerFunc(judge)})
	client, err := admin.NewClient(admin.ClientConfig{Socket: w.Socket})
	if err != nil {
		t.Fatal(err)
	}
	town := w.town(client)

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var group sync.WaitGroup
	start := time.Now()
	sent, edits := w.load(ctx, &group, town), editors(ctx, t, &group, client, town)

	reload := func(what string, options ...string) {
		t.Helper()
		w.Configure(t, w.options(options...), "")
		before := strings.Count(w.Output(t), "successfully reloaded config")
		w.Reload()
		harness.Await(t, what, 30*time.Second, func() error {
			if strings.Count(w.Output(t), "successfully reloaded config") <= before {
				return fmt.Errorf("not yet")
			}
			return nil
		})
	}
	reload("the new parts beside the old ones", "keyring "+keyrings["keybearer"], "former_keyring local", "store postgres {env.KEYBEARER_DSN}", "former_store sqlite")
	began := time.Now()
	out := w.CLI(t, "", "migrate", "keyring", "-o", "json")
	t.Logf("the keyring took %v", time.Since(began).Round(time.Millisecond))
	var keys admin.KeyMigration
	if err := json.Unmarshal([]byte(out.Stdout), &keys); err != nil || out.Code != 0 || !keys.Done || !strings.Contains(out.Stderr, "remove the line former_keyring") {
		t.Fatalf("exit %d, %v: %s%s", out.Code, err, out.Stdout, out.Stderr)
	}
	began = time.Now()
	if out := w.CLI(t, "", "migrate", "store"); out.Code != 0 || !strings.Contains(out.Stderr, "remove the line former_store") {
		t.Fatalf("exit %d: %s%s", out.Code, out.Stdout, out.Stderr)
	}
	t.Logf("the store took %v", time.Since(began).Round(time.Millisecond))
	reload("the new parts alone", "keyring "+keyrings["keybearer"], "store postgres {env.KEYBEARER_DSN}")
	reload("another mount beside it", "keyring "+keyrings["second"], "former_keyring "+keyrings["keybearer"], "store postgres {env.KEYBEARER_DSN}")
	began = time.Now()
	if out := w.CLI(t, "", "migrate", "keyring"); out.Code != 0 {
		t.Fatalf("exit %d: %s%s", out.Code, out.Stdout, out.Stderr)
	}
	t.Logf("to another mount took %v", time.Since(began).Round(time.Millisecond))
	reload("the other mount alone", "keyring "+keyrings["second"], "store postgres {env.KEYBEARER_DSN}")

	stop()
	group.Wait()
	t.Logf("%d requests (%.0f a second), %d edits", sent.Load(), float64(sent.Load())/time.Since(start).Seconds(), edits.Load())
	if edits.Load() < 100 {
		t.Errorf("only %d edits", edits.Load())
	}
	for _, mount := range []string{"keybearer", "second"} {
		keys := 0
		if a := vault.Do(t, "LIST", mount+"/keys", nil); a.Status == http.StatusOK {
			keys = len(a.Data(t)["keys"].([]any))
		}
		if want := map[string]int{"keybearer": 0, "second": 3}[mount]; keys != want {
			t.Errorf("%d keys in the mount %s, want %d", keys, mount, want)
		}
	}
	w.settled(client, town)
	harness.Await(t, "every use is counted once", 30*time.Second, func() error {
		counted := int64(0)
		for _, h := range town {
			c, err := client.Credential(t.Context(), h.ref)
			if err != nil {
				return err
			}
			if c.Usage != nil {
				counted += int64(c.Usage.Count)
			}
		}
		if want := sent.Load() + int64(len(town)); counted != want {
			return fmt.Errorf("%d of %d", counted, want)
		}
		return nil
	})
	if out := w.CLI(t, "", "doctor"); out.Code != 0 {
		t.Errorf("doctor: exit %d: %s%s", out.Code, out.Stdout, out.Stderr)
	}
	w.Restart(t) // and it is all there after a restart, in a process that has seen nothing of the move
	w.settled(client, town)

	// The old store is of no use alone.
	w.Stop(t)
	w.Configure(t, w.options("keyring "+keyrings["second"], "store sqlite"), "")
	if err := w.TryStart(t); err == nil || !strings.Contains(w.Output(t), "the records of this store have moved to another one") {
		t.Errorf("a server on the old store: %v", err)
	}
}

// transitOf is a keyring in the Caddyfile.
func transitOf(vault *harness.Vault, mount string, data, control harness.AppRole) string {
	role := func(r harness.AppRole) string {
		return fmt.Sprintf("auth approle {\n\t\trole_id %s\n\t\tsecret_id_file %s\n\t}", r.RoleID, r.SecretIDFile)
	}
	return fmt.Sprintf("vault_transit {\n\taddress %s\n\tmount %s\n\t%s\n\tcontrol {\n\t\t%s\n\t}\n}", vault.URL, mount, role(data), role(control))
}

// judge answers 200 when the request carries the secret that it ought to, or a later one.
func judge(rw http.ResponseWriter, r *http.Request) {
	prefix, text, ok := strings.Cut(r.Header.Get("X-Expect"), " ")
	n, err := strconv.ParseInt(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "+prefix), 10, 64)
	least, err2 := strconv.ParseInt(text, 10, 64)
	if !ok || err != nil || err2 != nil || n < least {
		rw.WriteHeader(http.StatusTeapot)
		return
	}
	rw.WriteHeader(http.StatusOK)
}

// town makes three scopes full of credentials.
func (w *world) town(client *admin.Client) []*household {
	w.t.Helper()
	var town []*household
	for _, scope := range []string{"docs", "crm", "ops"} {
		w.scope(scope)
	}
	w.caller("billing", "docs", "crm", "ops")
	for _, scope := range []string{"docs", "crm", "ops"} {
		for i := range townSize {
			h := &household{ref: keybearer.Ref{Scope: scope, Name: fmt.Sprintf("c%d", i)}}
			_, err := client.CreateCredential(w.t.Context(), scope, admin.NewCredential{
				Name: h.ref.Name, Kind: keybearer.Bearer, SecretInput: admin.SecretInput{Secret: admin.NewPlaintext(h.secret(0))},
				Destinations: []admin.Destination{{Rule: "api.example.com", Private: true}},
			})
			if err == nil {
				_, err = client.SetGrant(w.t.Context(), h.ref, "app:billing", keybearer.Use)
			}
			if err != nil {
				w.t.Fatal(err)
			}
			h.text.Store(new(string))
			town = append(town, h)
		}
	}
	return town
}

// load sends requests at a steady rate, and fails the test for each that does not succeed.
func (w *world) load(ctx context.Context, group *sync.WaitGroup, town []*household) *atomic.Int64 {
	sent := new(atomic.Int64)
	queue := make(chan int, perSecond)
	group.Go(func() {
		defer close(queue)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		began := time.Now()
		for n := 0; ; {
			for n < int(time.Since(began).Seconds()*perSecond) {
				queue <- n
				n++
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	transport := &http.Transport{Proxy: w.proxyURL(), MaxIdleConnsPerHost: 64}
	for range 48 {
		group.Go(func() {
			for n := range queue {
				if err := w.use(transport, town[n%len(town)], "app"); err != nil {
					w.t.Errorf("request %d: %v", n, err)
				}
				sent.Add(1)
			}
		})
	}
	w.t.Cleanup(transport.CloseIdleConnections)
	return sent
}

// use sends one request with the credential.
func (w *world) use(transport *http.Transport, h *household, path string) error {
	req := &http.Request{
		Method: "GET", URL: &url.URL{Scheme: "http", Host: "api.example.com", Path: "/" + path}, Header: http.Header{
			"Keybearer-Credential": {h.ref.String()}, "Proxy-Authorization": {"Bearer " + w.tokens["billing"]},
			"X-Expect": {fmt.Sprintf("kb-%s-%s- %d", h.ref.Scope, h.ref.Name, h.given.Load())},
		},
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("%s: %w", h.ref, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s (%s)", h.ref, resp.Status, resp.Header.Get("Proxy-Status"))
	}
	return nil
}

// editors change secrets and descriptions of what is theirs, and fail the test when that is refused.
func editors(ctx context.Context, t *testing.T, group *sync.WaitGroup, client *admin.Client, town []*household) *atomic.Int64 {
	edits := new(atomic.Int64)
	const editors = 3
	for e := range editors {
		group.Go(func() {
			for n := e; ctx.Err() == nil; n += editors {
				h := town[n%len(town)]
				var err error
				if n%2 == 0 {
					next := h.given.Load() + 1
					if _, err = retried(func() (admin.Credential, error) {
						return client.SetSecret(t.Context(), h.ref, admin.SecretInput{Secret: admin.NewPlaintext(h.secret(next))})
					}); err == nil {
						h.given.Store(next)
					}
				} else {
					text := fmt.Sprintf("edit %d", n)
					if _, err = retried(func() (admin.Credential, error) {
						return client.EditCredential(t.Context(), h.ref, admin.CredentialPatch{Description: &text})
					}); err == nil {
						h.text.Store(&text)
					}
				}
				if err != nil {
					t.Errorf("edit %d of %s: %v", n, h.ref, err)
				}
				edits.Add(1)
				select {
				case <-ctx.Done():
				case <-time.After(20 * time.Millisecond):
				}
			}
		})
	}
	return edits
}

// retried repeats what reached no server, while a reload hands the admin socket over.
func retried[T any](fn func() (T, error)) (v T, err error) {
	for range 50 {
		if v, err = fn(); keybearer.CodeOf(err) != keybearer.ServerUnreachable {
			return v, err
		}
	}
	return v, err
}

// settled checks every credential: its description, and the secret that arrives.
func (w *world) settled(client *admin.Client, town []*household) {
	w.t.Helper()
	transport := &http.Transport{Proxy: w.proxyURL()}
	defer transport.CloseIdleConnections()
	for _, h := range town {
		c, err := client.Credential(w.t.Context(), h.ref)
		if err != nil || c.Description != *h.text.Load() || c.Version != uint64(h.given.Load())+1 {
			w.t.Errorf("%s: version %d of %d, %q, want %q; %v", h.ref, c.Version, h.given.Load()+1, c.Description, *h.text.Load(), err)
		}
		if err := w.use(transport, h, "settled"); err != nil {
			w.t.Error(err)
		}
	}
}

// The server is killed again and again while secrets move to Vault and records to PostgreSQL: it starts again each time, goes on, and holds every edit that
// was acknowledged.
func TestKilledWhileMovingHouse(t *testing.T) {
	t.Parallel()
	const kills, longest = 8, 4 * time.Second // a key is destroyed 3 s after its last secret has moved
	server := harness.StartPostgres(t, "fsync=off")
	vault := harness.StartVault(t, harness.VaultOptions{})
	data, control := vault.Transit(t, "keybearer")
	w := &world{t: t, ca: harness.NewCA(t), dns: harness.StartDNS(t), tokens: map[string]string{}, expected: map[string]field{}}
	w.Keybearer = harness.NewKeybearer(t, harness.KeybearerOptions{Options: w.options(), Env: []string{"KEYBEARER_DSN=" + server.Database(t)}})
	w.start()
	w.server("api.example.com", harness.ServerOptions{Forget: true, Handler: http.HandlerFunc(judge)})
	client, err := admin.NewClient(admin.ClientConfig{Socket: w.Socket, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	town := w.town(client)
	w.Stop(t)
	w.Configure(t, w.options("keyring "+transitOf(vault, "keybearer", data, control), "former_keyring local",
		"store postgres {env.KEYBEARER_DSN}", "former_store sqlite"), "")
	w.start()

	var moved atomic.Int32
	for kill := range kills {
		ctx, stop := context.WithCancel(t.Context())
		var group sync.WaitGroup
		for e := range 2 {
			group.Go(func() {
				for n := kill*100 + e; ctx.Err() == nil; n += 2 {
					h := town[n%len(town)]
					next := h.tried.Add(1)
					if _, err := client.SetSecret(t.Context(), h.ref, admin.SecretInput{Secret: admin.NewPlaintext(h.secret(next))}); err == nil {
						h.given.Store(next)
					} else if code := keybearer.CodeOf(err); code != keybearer.ServerUnreachable {
						t.Errorf("kill %d: %s: %v", kill, h.ref, err)
					}
				}
			})
		}
		for _, what := range []string{"keyring", "store"} {
			group.Go(func() { // ends by itself, one way or the other
				if w.CLI(t, "", "migrate", what).Code == 0 {
					moved.Add(1)
				}
			})
		}
		timer := time.NewTimer(time.Duration(rand.Int64N(int64(longest))))
		select {
		case <-timer.C:
		case <-w.Done():
			t.Fatal("the server ended by itself")
		}
		w.Kill()
		stop()
		group.Wait()
		w.start()
	}
	for _, what := range []string{"keyring", "store"} {
		if out := w.CLI(t, "", "migrate", what); out.Code != 0 {
			t.Fatalf("migrate %s: exit %d: %s%s", what, out.Code, out.Stdout, out.Stderr)
		}
	}
	w.Configure(t, w.options("keyring "+transitOf(vault, "keybearer", data, control), "store postgres {env.KEYBEARER_DSN}"), "")
	w.Restart(t)
	t.Logf("%d moves had ended before their kill", moved.Load())
	transport := &http.Transport{Proxy: w.proxyURL()}
	defer transport.CloseIdleConnections()
	for _, h := range town {
		if err := w.use(transport, h, "settled"); err != nil {
			t.Error(err)
		}
	}
	if keys := len(vault.Must(t, "LIST", "keybearer/keys", nil).Data(t)["keys"].([]any)); keys != 3 {
		t.Errorf("%d keys in Vault, want one for each scope", keys)
	}
}
