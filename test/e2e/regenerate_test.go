package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
	"github.com/keybearer/keybearer/test/harness"
)

// While a scope's key is regenerated its credentials are refused as scope_regenerating; a server that is killed in the midst of it goes on
// with it when it is started again, and the credentials of other scopes are used all the while.
func TestKilledWhileRegenerating(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.billing("api.example.com")
	api := w.recorder("api.example.com", nil)
	w.scope("doomed")
	w.must("", "caller", "bind", "billing", "doomed")
	client, err := admin.NewClient(admin.ClientConfig{Socket: w.Socket})
	if err != nil {
		t.Fatal(err)
	}
	const total = 2000
	for i := range total {
		if _, err := client.CreateCredential(t.Context(), "doomed", admin.NewCredential{
			Name: fmt.Sprintf("c%04d", i), Kind: keybearer.Bearer, SecretInput: admin.SecretInput{Secret: admin.NewPlaintext("doomed secret")},
			Destinations: []admin.Destination{{Rule: "api.example.com", Private: true}},
		}); err != nil {
			t.Fatal(err)
		}
	}
	last := fmt.Sprintf("doomed/c%04d", total-1)
	w.grant(last, "billing", "use")
	transport := http.Transport{Proxy: w.proxyURL()}
	defer transport.CloseIdleConnections()
	app := &http.Client{Transport: &transport, Timeout: time.Minute}
	if code, _, ok := w.send(t, app, last, "before"); code != "" || !ok {
		t.Fatalf("before: %q", code)
	}

	done := make(chan error, 1)
	go func() {
		_, err := client.RegenerateKey(t.Context(), "doomed", admin.Regenerate{Confirmation: admin.Confirmation{Confirm: "doomed", ExpectedCredentials: total}})
		done <- err
	}()
	harness.Await(t, "refusal while the key is regenerated", 20*time.Second, func() error {
		a := w.ask(t, request("GET", "http://api.example.com/", "api.example.com", "Keybearer-Credential: "+last, "Proxy-Authorization: Bearer "+w.tokens["billing"]))
		if a.StatusCode != 503 {
			return fmt.Errorf("%s", a.raw)
		}
		isRefusal(t, a, keybearer.ScopeRegenerating, 503)
		return nil
	})
	w.serves(t, api)
	w.Kill()
	if err := <-done; !gone(err) {
		t.Fatalf("the regeneration had ended before the kill: %v; more credentials are needed to test this", err)
	}
	w.start()
	transport.CloseIdleConnections()
	w.serves(t, api)
	harness.Await(t, "the end of the regeneration", 60*time.Second, func() error {
		s, err := client.Scope(t.Context(), "doomed")
		if err != nil {
			return err
		}
		if s.Work != nil {
			return fmt.Errorf("%+v", s.Work)
		}
		return nil
	})
	if code, _, ok := w.send(t, app, last, "after"); code != keybearer.CredentialForbidden || !ok {
		t.Errorf("after: %q", code)
	}
	page, err := client.Credentials(t.Context(), "doomed", admin.ListQuery{Deleted: true})
	if err != nil || len(page.Items) > 0 {
		t.Errorf("%d credentials are left, %v", len(page.Items), err)
	}
	if code, _, ok := w.send(t, app, "docs/crm", "other"); code != "" || !ok {
		t.Errorf("of another scope: %q", code)
	}
}
