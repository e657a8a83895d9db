// Package fleet tests several keybearer servers over one PostgreSQL and one Vault: what one of them acknowledges holds on all, and what
// happens when a part is away. Nodes one and two seal and open; node three only opens, with a role that can do nothing else.
package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
	"github.com/keybearer/keybearer/test/harness"
)

// host is the destination of all requests.
const host = "api.example.com"

// fleet is some servers, what they share, and a destination that knows which secret belongs to which path.
type fleet struct {
	life    *testing.T // at whose end everything that was started ends
	t       *testing.T
	ca      *harness.CA
	dns     *harness.DNS
	vault   *harness.Vault
	standby *harness.Vault // nil: none
	pg      *harness.Postgres
	dsn     string
	nodes   []*node
	token   string          // of the caller billing, which may use everything
	control harness.AppRole // of the servers that seal
	wrong   atomic.Int64

	mu      sync.Mutex
	secrets map[string][]string // that may arrive, by path
}

// node is one server, with the cables that lead from it.
type node struct {
	*harness.Keybearer
	name             string
	api              *admin.Client
	toVault, toStore *harness.Cable
	web              *http.Client
	f                *fleet
}

// plan says how a fleet is set up.
type plan struct {
	nodes    int      // 0: 3
	options  []string // further lines for the global option keybearer
	keyring  string   // further lines for its keyring
	vault    harness.VaultOptions
	standby  bool     // the servers talk to a standby of it
	postgres []string // settings
}

func newFleet(t *testing.T, p plan) *fleet {
	t.Helper()
	f := &fleet{t: t, life: t, ca: harness.NewCA(t), dns: harness.StartDNS(t), secrets: map[string][]string{}}
	f.vault = harness.StartVault(t, p.vault)
	asked := f.vault.Addr
	if p.standby {
		f.standby = harness.StartStandby(t, f.vault)
		asked = f.standby.Addr
	}
	f.pg = harness.StartPostgres(t, p.postgres...)
	f.dsn = f.pg.Database(t)
	data, control := f.vault.Transit(t, "keybearer")
	f.control = control
	destination := harness.StartServer(t, harness.ServerOptions{
		Name: host, TLS: harness.ServerTLS(f.ca.Issue(t, time.Time{}, host)), Handler: http.HandlerFunc(f.receive), Forget: true,
	})
	f.dns.Set(host, destination.Addr.Addr())
	if p.nodes == 0 {
		p.nodes = 3
	}
	for i := range p.nodes {
		n := &node{name: fmt.Sprintf("n%d", i+1), f: f, toVault: harness.StartCable(t, asked), toStore: harness.StartCable(t, f.pg.Addr)}
		keyring := approle(data)
		if i < 2 {
			keyring += "\ncontrol {\n" + approle(control) + "\n}"
		}
		options := append([]string{
			"trust " + f.ca.File, "allow_private 127.0.0.0/8", "resolver " + f.dns.Addr,
			"store postgres {env.KEYBEARER_DSN} {\nnode " + n.name + "\n}",
			"keyring vault_transit {\naddress http://" + n.toVault.Addr.String() + "\nmount keybearer\n" + keyring + "\n" + p.keyring + "\n}",
		}, p.options...)
		n.Keybearer = harness.StartKeybearer(t, harness.KeybearerOptions{
			Options: strings.Join(options, "\n"), Env: []string{"KEYBEARER_DSN=" + harness.Via(t, f.dsn, n.toStore.Addr)},
		})
		var err error
		if n.api, err = admin.NewClient(admin.ClientConfig{Socket: n.Socket}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(n.api.Close)
		n.web = &http.Client{Transport: &http.Transport{
			Proxy:               http.ProxyURL(&url.URL{Scheme: "http", Host: n.Proxy.String()}),
			MaxIdleConnsPerHost: 256, MaxIdleConns: 256,
		}, Timeout: 20 * time.Second}
		t.Cleanup(n.web.CloseIdleConnections)
		f.nodes = append(f.nodes, n)
	}
	t.Cleanup(func() {
		if n := f.wrong.Load(); n > 0 {
			t.Errorf("%d requests arrived with another secret than theirs", n)
		}
	})
	return f
}

func approle(r harness.AppRole) string {
	return "auth approle {\nrole_id " + r.RoleID + "\nsecret_id_file " + r.SecretIDFile + "\n}"
}

// receive answers 200 to a request that carries a secret of its path, and 500 to any other.
func (f *fleet) receive(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	secret, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	f.mu.Lock()
	allowed := f.secrets[r.URL.Path]
	f.mu.Unlock()
	for _, s := range allowed {
		if s == secret {
			_, _ = io.WriteString(w, "ok")
			return
		}
	}
	f.wrong.Add(1)
	w.WriteHeader(http.StatusInternalServerError)
}

// allow says which secrets may arrive for a credential.
func (f *fleet) allow(credential string, secrets ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.secrets["/"+credential] = secrets
}

// must returns a function that gives the value, or ends the test.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// billing makes the scope docs with a key, the caller billing, and credentials that it may use: docs/c0, docs/c1, …
func (f *fleet) billing(credentials int) {
	f.t.Helper()
	ctx, api := f.t.Context(), f.nodes[0].api
	must(api.CreateScope(ctx, admin.NewScope{Name: "docs"}))(f.t)
	must(api.GenerateKey(ctx, "docs"))(f.t)
	issued := must(api.CreateCaller(ctx, admin.NewCaller{Name: "billing", Scopes: []string{"docs"}}))(f.t)
	f.token = issued.Token.Reveal()
	for i := range credentials {
		f.credential(fmt.Sprintf("docs/c%d", i))
	}
}

func secretOf(credential string) string { return "secret-of-" + credential + "-0123456789" }

// credential makes a credential that billing may use.
func (f *fleet) credential(name string) {
	f.t.Helper()
	if err := f.tryCredential(name); err != nil {
		f.t.Fatal(err)
	}
}

// tryCredential is credential that returns the error instead.
func (f *fleet) tryCredential(name string) error {
	ctx, api := f.t.Context(), f.nodes[0].api
	ref, err := keybearer.ParseRef(name)
	if err != nil {
		return err
	}
	f.allow(name, secretOf(name))
	_, err = api.CreateCredential(ctx, ref.Scope, admin.NewCredential{
		Name: ref.Name, Kind: keybearer.Bearer, SecretInput: admin.SecretInput{Secret: admin.NewPlaintext(secretOf(name))},
		Destinations: []admin.Destination{{Rule: host, Private: true}},
	})
	if err == nil {
		_, err = api.SetGrant(ctx, ref, "app:billing", keybearer.Use)
	}
	return err
}

// answer is how a request ended: with a code of Keybearer's, "" when the destination answered 200, or else a text of its own.
type answer struct {
	code  string
	retry bool // it carried Retry-After
	took  time.Duration
}

// send sends a request for a credential through the node.
func (n *node) send(ctx context.Context, credential string) answer {
	began := time.Now()
	a := n.try(ctx, credential)
	a.took = time.Since(began)
	return a
}

// try is send that takes no time; headers are pairs of name and value.
func (n *node) try(ctx context.Context, credential string, headers ...string) answer {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+host+"/"+credential, bytes.NewReader([]byte("{}")))
	if err != nil {
		return answer{code: err.Error()}
	}
	req.Header.Set("Keybearer-Credential", credential)
	req.Header.Set("Proxy-Authorization", "Bearer "+n.f.token)
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := n.web.Do(req)
	if err != nil {
		return answer{code: "no answer: " + err.Error()}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return answer{code: "half an answer: " + err.Error()}
	case resp.StatusCode == http.StatusOK && string(body) == "ok":
		return answer{}
	}
	var problem struct{ Code string }
	if json.Unmarshal(body, &problem) != nil || problem.Code == "" {
		return answer{code: fmt.Sprintf("status %d: %.80s", resp.StatusCode, body)}
	}
	return answer{code: problem.Code, retry: resp.Header.Get("Retry-After") != ""}
}

// serves fails the test unless the node answers for the credential with the code, at once.
func (n *node) serves(credential string, code keybearer.Code) {
	n.f.t.Helper()
	if a := n.send(n.f.t.Context(), credential); a.code != string(code) {
		n.f.t.Fatalf("%s: %s is answered %q, want %q", n.name, credential, a.code, code)
	}
}

// until sends requests until one is answered with the code, and returns how long that took.
func (n *node) until(credential string, code keybearer.Code, within time.Duration) (time.Duration, error) {
	began := time.Now()
	for {
		a := n.send(n.f.t.Context(), credential)
		took := time.Since(began)
		switch {
		case a.code == string(code):
			return took, nil
		case took > within:
			return took, fmt.Errorf("%s: %s is still answered %q after %v, want %q", n.name, credential, a.code, took, code)
		}
	}
}

// ready waits until every node serves the credential.
func (f *fleet) ready(credential string) {
	f.t.Helper()
	var errs []error
	for _, n := range f.nodes {
		_, err := n.until(credential, "", 10*time.Second)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		f.t.Fatal(err)
	}
}
